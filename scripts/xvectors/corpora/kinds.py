"""The kinds of corpora: a reader for each.

A reader is a function that yields the utterances (`Entry`) of the corpus at a path, in a stable
order, and the files and lines that are not utterances (`LeftOut`). Its parameters are options of
that kind, in the configuration and on the command line. `xvectors.config.settings.Corpus` describes
them. The first sentence of its docstring names the corpus and what `path` is; `--help` and
errors quote it.
"""

import inspect
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from xvectors.corpora.entries import Entry, LeftOut, find_changed_folder
from xvectors.corpora.espnet3 import read_espnet3
from xvectors.corpora.folders import (
    pattern_problems,
    read_folder,
    read_libritts,
    read_ljspeech,
    read_vctk,
)
from xvectors.corpora.kaldi import read_kaldi
from xvectors.corpora.lhotse import read_lhotse
from xvectors.corpora.nemo import read_nemo
from xvectors.corpora.parquet import read_parquet
from xvectors.corpora.shar import read_shar
from xvectors.corpora.webdataset import read_webdataset
from xvectors.errors import CorpusError, printable

logger = logging.getLogger(__name__)

READERS: dict[str, Callable[..., Iterator[Entry | LeftOut]]] = {
    "libritts": read_libritts,
    "vctk": read_vctk,
    "ljspeech": read_ljspeech,
    "kaldi": read_kaldi,
    "lhotse": read_lhotse,
    "nemo": read_nemo,
    "espnet3": read_espnet3,
    "webdataset": read_webdataset,
    "parquet": read_parquet,
    "shar": read_shar,
    "folder": read_folder,
}

# Kinds whose utterances are those that their folders hold, not those of a list.
SEARCHED_KINDS = ("libritts", "vctk", "folder", "webdataset", "parquet", "shar")
# A manifest names places in these files, which their changes move.
CONTAINERS = {"webdataset": (".tar",), "parquet": (".parquet",), "shar": (".tar", ".jsonl.gz")}


def options_of(kind: str) -> dict[str, bool]:
    """Return the options of a kind of corpus, each with whether it is required."""
    parameters = inspect.signature(READERS[kind]).parameters
    return {name: entry.default is entry.empty for name, entry in parameters.items()}


def summary_of(kind: str) -> str:
    """Return a one-sentence description of a kind of corpus."""
    return (inspect.getdoc(READERS[kind]) or "").partition(".\n")[0].rstrip(".").replace("``", "")


def corpus_problems(corpus: Mapping[str, Any], manifest: Path) -> Iterator[str]:
    """Yield ``key: problem`` for each problem that prevents making a manifest from a corpus.

    `corpus` has passed the schema.
    """
    kind, options = corpus["kind"], options_of(corpus["kind"])
    for name in corpus:
        if name not in options and name != "kind":
            yield f"{name}: not an option of {kind} ({', '.join(options)})"
    for name, is_needed in options.items():
        if is_needed and name not in corpus:
            yield f"{name}: {kind} needs it"
    if kind == "folder" and "pattern" in corpus:
        yield from pattern_problems(corpus["pattern"], corpus.get("speaker"))
    if not Path(corpus["path"]).exists():
        yield f"path: no such file or folder: {corpus['path']}"
    elif manifest.resolve() == Path(corpus["path"]).resolve():
        yield f"path: {manifest} is the manifest to write. Use it without corpora"


def changed_folder(
    corpus: Mapping[str, Any], manifest: Path, written: Collection[Path] = ()
) -> Path | None:
    """Return a folder or container of a corpus that has changed since its manifest was made.

    Return None without one, and for a corpus that is a list of files. The manifest exists.
    `written` are absolute paths of other things that runs write.
    """
    if corpus["kind"] not in SEARCHED_KINDS:
        return None
    since_ns = manifest.stat().st_mtime_ns
    # A folder that cannot be read is reported when the corpus is listed again.
    with suppress(OSError):
        written = {manifest.absolute(), *written}
        containers = CONTAINERS.get(corpus["kind"], ())
        return find_changed_folder(Path(corpus["path"]), since_ns, written, containers)
    return None


def read_corpus(corpus: Mapping[str, Any]) -> list[Entry]:
    """Return the utterances of a corpus. `corpus_problems` must have found none.

    Slashes in utt_ids become hyphens, because an utt_id becomes the name of a file.

    Raises:
        CorpusError: The corpus is not of that kind, or damaged.

    """
    options = {name: value for name, value in corpus.items() if name != "kind"}
    options["path"] = Path(corpus["path"]).absolute()
    entries: list[Entry] = []
    left_out: list[LeftOut] = []
    try:
        for found in READERS[corpus["kind"]](**options):
            if isinstance(found, LeftOut):
                left_out.append(found)
            elif not _is_utf8(found):
                left_out.append(LeftOut(found.place, "a name that is not UTF-8"))
            else:
                entries.append(found._replace(utt_id=found.utt_id.replace("/", "-")))
    except OSError as error:
        raise CorpusError(f"{error.filename}: cannot be read: {error.strerror}") from error
    reasons = [f"left out {line}" for line in _count(left_out)]
    if not entries:
        nothing = f"{corpus['path']}: no utterance found ({summary_of(corpus['kind'])})"
        raise CorpusError("; ".join([nothing, *reasons]))
    for reason in reasons:
        logger.warning("%s", printable(f"{corpus['path']}: {reason}"))
    return entries


def _is_utf8(entry: Entry) -> bool:
    """Tell whether an entry can be written, which names in other encodings cannot."""
    try:
        "".join((entry.utt_id, entry.wav_path, entry.text, entry.speaker_id)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _count(left_out: list[LeftOut]) -> Iterator[str]:
    """Yield a line for each reason, with the number of places and the first one."""
    places: dict[str, list[str]] = defaultdict(list)
    for one in left_out:
        places[one.reason].append(one.place)
    for reason, found in sorted(places.items()):
        yield f"{len(found)}: {reason} (the first is {found[0]})"
