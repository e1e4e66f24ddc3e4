"""Making a manifest from a corpus, also as the command ``python -m xvectors make_manifest``."""

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xvectors.audio.opening import durations
from xvectors.audio.versions import audio_version
from xvectors.config.paths import require_utf8
from xvectors.config.resolving import setting_problems
from xvectors.config.settings import Corpus
from xvectors.corpora.entries import Entry
from xvectors.corpora.kinds import READERS, corpus_problems, options_of, read_corpus, summary_of
from xvectors.errors import CorpusError, ManifestError, XVectorsError, as_error_lines, printable
from xvectors.files.atomic import replacing
from xvectors.manifest.lines import CONTROL_CHARACTER
from xvectors.manifest.reading import read_manifest

logger = logging.getLogger(__name__)

MAX_PROBLEMS = 20
SECONDS_PER_HOUR = 3600


def make_manifest(corpus: Mapping[str, Any], manifest: Path) -> None:
    """Write the manifest of a corpus, whole or not at all.

    An utterance's seconds come from the corpus, else from the header of its file. They are omitted
    if neither states them.

    Args:
        corpus: Its kind, its path and the options of that kind, as under ``xvector.corpora``.
        manifest: The file to write. Its folder is created if necessary.

    Raises:
        CorpusError: The corpus cannot be read, or a line of its manifest would be refused. One
            line for every problem, with its place in the corpus.

    """
    _raise(corpus_problems(corpus, manifest))
    entries = read_corpus(corpus)
    _raise(_repetitions(entries))
    if not any(audio_version(entry.wav_path) for entry in entries):
        raise CorpusError(
            f"{corpus['path']}: none of its {len(entries)} utterances has an audio file, the first "
            f"should be {entries[0].wav_path}"
        )
    seconds = _seconds(entries)
    lines = [_as_line(*pair) for pair in zip(entries, seconds, strict=True)]
    manifest.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(lines).encode("utf-8", "surrogateescape")
    with replacing(manifest) as written:
        written.write_bytes(content)
        _check(entries, written)
    unknown = [entry for entry, value in zip(entries, seconds, strict=True) if not value]
    if unknown:
        logger.warning(
            "%s: %d utterances whose audio file is missing or does not tell its length, the first "
            "is %s",
            manifest,
            len(unknown),
            unknown[0].wav_path,
        )
    logger.info(
        "%s: %d utterances, %d speakers, %.3f hours",
        manifest,
        len(entries),
        len({entry.speaker_id for entry in entries}),
        sum(seconds) / SECONDS_PER_HOUR,
    )


def _repetitions(entries: list[Entry]) -> Iterator[str]:
    """Yield a problem for each repeated utt_id.

    Named here with their places in the corpus; `read_manifest` has the rule.
    """
    first_place: dict[str, str] = {}
    for entry in entries:
        if entry.utt_id in first_place:
            first = first_place[entry.utt_id]
            yield f"{entry.place}: repeated utt_id {entry.utt_id!r}, first at {first}"
        else:
            first_place[entry.utt_id] = entry.place


def _seconds(entries: list[Entry]) -> list[float]:
    """Return each utterance's seconds, 0 if neither the corpus nor its file states them."""
    seconds = [_stated_seconds(entry) for entry in entries]
    unknown = [i for i, value in enumerate(seconds) if value is None]
    headers = durations([entries[i].wav_path for i in unknown])
    for i, value in zip(unknown, headers, strict=True):
        seconds[i] = value
    return [value or 0.0 for value in seconds]


def _stated_seconds(entry: Entry) -> float | None:
    if entry.segment is None:
        return entry.seconds
    start, end = entry.segment
    return end - start


def _as_line(entry: Entry, seconds: float) -> str:
    for value in (entry.utt_id, entry.wav_path):
        if "\t" in value or "\n" in value:
            raise CorpusError(f"{entry.place!r}: {value!r} has a tab or a line break")
    # Replace control characters in a text. They are no reason to refuse it.
    text = " ".join(CONTROL_CHARACTER.sub(" ", entry.text).split())
    speaker = " ".join(entry.speaker_id.split())
    columns = [entry.utt_id, entry.wav_path, text, speaker]
    if entry.segment is not None:
        start, end = entry.segment
        columns += [f"start={_decimal(start)}", f"end={_decimal(end)}"]
    elif seconds:
        columns.append(f"seconds={_decimal(seconds)}")
    return "\t".join(columns) + "\n"


def _decimal(seconds: float) -> str:
    """Return seconds to the microsecond, a fraction of a sample."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _check(entries: list[Entry], written: Path) -> None:
    """Refuse utterances that the run would refuse, with their places in the corpus."""
    try:
        read_manifest(written)
    except ManifestError as error:
        _raise(_at_their_places(str(error), entries, written))


def _at_their_places(message: str, entries: list[Entry], written: Path) -> Iterator[str]:
    for line in message.splitlines():
        number, _, reason = line.removeprefix(printable(f"{written}:")).partition(":")
        if number.isdecimal():
            yield f"{entries[int(number) - 1].place}:{reason}"
        else:
            yield number.strip()


def _raise(problems: Iterator[str]) -> None:
    lines = list(problems)
    if len(lines) > MAX_PROBLEMS:
        lines[MAX_PROBLEMS:] = [f"and {len(lines) - MAX_PROBLEMS} more"]
    if lines:
        raise CorpusError("\n".join(lines))


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``make_manifest``: the kinds of corpora, with the options of the configuration."""
    purpose = "Make a manifest from a corpus."
    command = commands.add_parser("make_manifest", help=purpose, description=purpose)
    kinds = command.add_subparsers(dest="kind", required=True, metavar="kind")
    for kind in READERS:
        summary = summary_of(kind)
        parser = kinds.add_parser(kind, help=summary, description=summary)
        parser.set_defaults(run=_run)
        parser.add_argument("--output", required=True, type=Path, help="the manifest to write")
        for name, is_needed in options_of(kind).items():
            description = Corpus.model_fields[name].description
            if name == "path":
                parser.add_argument(name, help=description)
            else:
                parser.add_argument(
                    f"--{name}",
                    required=is_needed,
                    nargs="+" if name in Corpus.LISTS else None,
                    help=description,
                    default=argparse.SUPPRESS,
                )


def _run(parsed: argparse.Namespace) -> None:
    """Make the manifest. An error that the user can fix is one line and status 1."""
    corpus = {name: value for name, value in vars(parsed).items() if name != "run"}
    manifest = corpus.pop("output")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        require_utf8()
        _raise(iter(setting_problems(Corpus, corpus)))
        make_manifest(corpus, manifest)
    except (XVectorsError, OSError) as error:
        sys.exit(as_error_lines(error))
