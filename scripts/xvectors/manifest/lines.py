"""Manifests: the utterances of a split, in order, checked line by line."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xvectors.audio.signal import Segment
from xvectors.errors import ManifestError

MIN_COLUMNS = 4
MAX_UTT_ID_BYTES = 200
# What further columns may state, as `<name>=<seconds>`.
TIMES = ("start", "end", "seconds")
# Unicode's control characters, category Cc.
CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f]")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLOCK_BYTES = 2**24


class Utterance(NamedTuple):
    """One line of a manifest.

    `wav_path` is as the manifest has it. `segment` is the part of that recording which the
    utterance is, None for all of it. `seconds` is the segment's duration, or what the line states
    as ``seconds=``, else None.
    """

    utt_id: str
    wav_path: str
    speaker_id: str
    seconds: float | None
    segment: Segment | None = None


def version_of(path: Path) -> tuple[int, int]:
    """Return the size in bytes and the modification time in ns of a manifest.

    Raises:
        ManifestError: It cannot be read.

    """
    try:
        status = path.stat()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns


def numbered_lines(
    path: Path, digest: "hashlib._Hash | None" = None
) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, first byte and content of the lines that are not blank.

    Only a line feed ends a line.
    """
    start = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if digest is not None:
                    digest.update(line)
                content = line_content(line, is_first=number == 1)
                if not _is_blank(content):
                    yield number, start, content
                start += len(line)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error


def line_content(line: bytes, is_first: bool) -> bytes:
    """Return a line without what ends it, and the first one without a byte order mark."""
    content = line.removeprefix(BYTE_ORDER_MARK) if is_first else line
    return content.removesuffix(b"\n").removesuffix(b"\r")


def _is_blank(content: bytes) -> bool:
    return not content.strip(b" ")


def line_starts(path: Path) -> NDArray[np.int64]:
    """Return the first byte of every line of a file that is not blank, without parsing them."""
    found = []
    start, is_new_line = 0, True
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            characters = np.frombuffer(block, dtype=np.uint8)
            begins = np.flatnonzero(characters == ord("\n")) + 1
            begins = np.concatenate([np.zeros(int(is_new_line), dtype=np.int64), begins])
            is_new_line = block.endswith(b"\n")
            begins = begins[begins < len(block)]
            # Few lines begin as a blank one may; those are looked at.
            suspects = np.isin(characters[begins], np.frombuffer(b" \r\n\xef", dtype=np.uint8))
            for i in np.flatnonzero(suspects):
                suspects[i] = _is_blank_at(path, start + int(begins[i]))
            found.append(begins[~suspects] + start)
            start += len(block)
    return np.concatenate([np.zeros(0, dtype=np.int64), *found])


def _is_blank_at(path: Path, start: int) -> bool:
    with path.open("rb") as file:
        file.seek(start)
        return _is_blank(line_content(file.readline(), is_first=start == 0))


def parse_line(line: bytes) -> Utterance:
    """Return the utterance in a line.

    Raises:
        ManifestError: The line is wrong; the message is the reason.

    """
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
    if has_control_character(wav_path):
        raise ManifestError(f"wav_path {wav_path!r} has a control character")
    times = _times(columns[MIN_COLUMNS:])
    segment = _segment(times)
    seconds = segment.end - segment.start if segment else times.get("seconds")
    return Utterance(utt_id, wav_path, speaker_id, seconds, segment)


def _check_utt_id(utt_id: str) -> None:
    """Refuse what would not do as the plain name of a file."""
    if not utt_id:
        raise ManifestError("an empty utt_id")
    if "/" in utt_id:
        raise ManifestError(f"utt_id {utt_id!r} has a slash")
    if utt_id.startswith("."):
        raise ManifestError(f"utt_id {utt_id!r} starts with a dot")
    if has_control_character(utt_id):
        raise ManifestError(f"utt_id {utt_id!r} has a control character")
    if len(utt_id.encode()) > MAX_UTT_ID_BYTES:
        raise ManifestError(f"utt_id {utt_id!r} is longer than {MAX_UTT_ID_BYTES} bytes")


def has_control_character(text: str) -> bool:
    """Tell whether there is one of C0 or C1, a line feed say."""
    return CONTROL_CHARACTER.search(text) is not None


def _times(more_columns: list[str]) -> dict[str, float]:
    """Return what columns such as ``seconds=1.75``, ``start=1.5`` and ``end=3.25`` tell."""
    times: dict[str, float] = {}
    for column in more_columns:
        name, equals, value = column.partition("=")
        if equals and name in TIMES:
            if name in times:
                raise ManifestError(f"a second {name}=")
            try:
                times[name] = float(value)
            except ValueError as error:
                raise ManifestError(f"{column!r} is no time in seconds") from error
    if not 0 < times.get("seconds", 1.0) < float("inf"):
        raise ManifestError(f"seconds={times['seconds']:g} is no duration")
    return times


def _segment(times: dict[str, float]) -> Segment | None:
    """Return the segment that a line tells, None without one."""
    start, end = times.get("start"), times.get("end")
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise ManifestError("start= and end= belong together, one is missing")
    if not 0 <= start < end < float("inf"):
        raise ManifestError(f"start={start:g} and end={end:g}: the end must come after the start")
    return Segment(start, end)
