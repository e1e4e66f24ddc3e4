"""Manifests: the utterances of a split, in order, checked line by line."""

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from xvectors.errors import ManifestError

MIN_COLUMNS = 4
MAX_UTT_ID_BYTES = 200


class Stretch(NamedTuple):
    """A part of a recording, in seconds from its beginning."""

    start: float
    end: float


class Utterance(NamedTuple):
    """One line of a manifest.

    `wav_path` is as the manifest has it. `stretch` is the part of that recording which the
    utterance is, None for all of it. `seconds` is the stretch's duration, or the fifth column
    where that holds one, else None.
    """

    utt_id: str
    wav_path: str
    speaker_id: str
    seconds: float | None
    stretch: Stretch | None = None


@dataclass(frozen=True)
class Manifest:
    """The utterances of a manifest, in order; their positions are the indices of a runner.

    `digest` is a hash of the file's content.
    """

    path: Path
    utterances: list[Utterance]
    digest: str


def locate_audio(manifest_path: Path, wav_path: str) -> str:
    """Return where `wav_path` lies: a relative one is relative to the manifest's folder."""
    return str(manifest_path.parent / wav_path)


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        ManifestError: One line, ``<file>:<line>: <reason>``, for each line that is wrong.

    """
    utterances: list[Utterance] = []
    problems: list[str] = []
    line_of: dict[str, int] = {}
    digest = hashlib.sha256()
    for number, line in _lines(path, digest):
        try:
            utterance = _parse(line)
            first = line_of.setdefault(utterance.utt_id, number)
            if first != number:
                raise ManifestError(f"repeated utt_id {utterance.utt_id!r}, first on line {first}")
        except ManifestError as problem:
            problems.append(f"{path}:{number}: {problem}")
        else:
            utterances.append(utterance)
    if not utterances and not problems:
        problems = [f"{path}:1: no utterance at all"]
    if problems:
        raise ManifestError("\n".join(problems))
    return Manifest(path, utterances, digest.hexdigest())


def hash_manifest(path: Path) -> str:
    """Return a hash of a manifest's content, as `Manifest.digest`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lines(path: Path, digest: "hashlib._Hash") -> Iterator[tuple[int, bytes]]:
    """Yield the numbered lines that are not blank; only a line feed ends a line."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                digest.update(line)
                content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                content = content.removesuffix(b"\n").removesuffix(b"\r")
                if content.strip(b" "):
                    yield number, content
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error


def _parse(line: bytes) -> Utterance:
    try:
        columns = line.decode("utf-8").split("\t")
    except UnicodeDecodeError as error:
        raise ManifestError("text that is not UTF-8") from error
    if len(columns) < MIN_COLUMNS:
        raise ManifestError(
            f"{len(columns)} columns, not utt_id, wav_path, text and speaker_id separated by tabs"
        )
    utt_id, wav_path, _, speaker_id = columns[:MIN_COLUMNS]
    _check_utt_id(utt_id)
    if not wav_path:
        raise ManifestError("an empty wav_path")
    if _has_control_character(wav_path):
        raise ManifestError(f"wav_path {wav_path!r} has a control character")
    stretch = _stretch(columns[MIN_COLUMNS:])
    if stretch is not None:
        return Utterance(utt_id, wav_path, speaker_id, stretch.end - stretch.start, stretch)
    return Utterance(utt_id, wav_path, speaker_id, _seconds(columns[MIN_COLUMNS:]))


def _check_utt_id(utt_id: str) -> None:
    """Refuse what would not do as the plain name of a file."""
    if not utt_id:
        raise ManifestError("an empty utt_id")
    if "/" in utt_id:
        raise ManifestError(f"utt_id {utt_id!r} has a slash")
    if utt_id.startswith("."):
        raise ManifestError(f"utt_id {utt_id!r} starts with a dot")
    if _has_control_character(utt_id):
        raise ManifestError(f"utt_id {utt_id!r} has a control character")
    if len(utt_id.encode()) > MAX_UTT_ID_BYTES:
        raise ManifestError(f"utt_id {utt_id!r} is longer than {MAX_UTT_ID_BYTES} bytes")


def _has_control_character(text: str) -> bool:
    return any(unicodedata.category(letter) == "Cc" for letter in text)


def _seconds(more_columns: list[str]) -> float | None:
    """Return the fifth column where it is a positive duration, else None."""
    try:
        seconds = float(more_columns[0])
    except (IndexError, ValueError):
        return None
    return seconds if 0 < seconds < float("inf") else None


def _stretch(more_columns: list[str]) -> Stretch | None:
    """Return what columns such as ``start=1.5`` and ``end=3.25`` tell, None without them."""
    times: dict[str, float] = {}
    for column in more_columns:
        name, equals, value = column.partition("=")
        if equals and name in Stretch._fields:
            if name in times:
                raise ManifestError(f"a second {name}=")
            try:
                times[name] = float(value)
            except ValueError as error:
                raise ManifestError(f"{column!r} is no time in seconds") from error
    if not times:
        return None
    if len(times) < len(Stretch._fields):
        raise ManifestError("start= and end= belong together, one is missing")
    stretch = Stretch(**times)
    if not 0 <= stretch.start < stretch.end < float("inf"):
        raise ManifestError(
            f"start={stretch.start:g} and end={stretch.end:g}: the end must come after the start"
        )
    return stretch
