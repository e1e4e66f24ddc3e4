"""The grammar of manifests: lines, and the utterance in each."""

import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xvectors.audio.signal import Segment
from xvectors.errors import ManifestError

MIN_COLUMNS = 4
MAX_UTT_ID_BYTES = 200
# Names that further columns may have, as `<name>=<seconds>`.
TIMES = ("start", "end", "seconds")
# Unicode's control characters, category Cc: C0, DEL and C1.
CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f]")
# The bytes that begin no control character, apart from the tab between columns; UTF-8's byte C2
# begins those of C1, and others.
HARMLESS_BYTES = bytes({9, *range(0x20, 0x100)} - {0x7F, 0xC2})
COLUMNS = ("utt_id", "wav_path", "text", "speaker_id")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLOCK_BYTES = 2**20


class Utterance(NamedTuple):
    """One line of a manifest.

    `wav_path` is as the manifest has it. `segment` is the part of that recording that the
    utterance consists of, None for all of it. `seconds` is the segment's duration, or the one
    that the line states as ``seconds=``, else None.
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
    """Yield the number, the first byte and the content of each line that is not blank.

    A line ends in LF, CR LF or CR. The content is without that, and without a byte order mark.
    """
    start = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_split_lines(file, digest), start=1):
                content = line_content(line, is_first=number == 1)
                if not _is_blank(content):
                    yield number, start, content
                start += len(line)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error


def _split_lines(file: BinaryIO, digest: "hashlib._Hash | None") -> Iterator[bytes]:
    """Yield the lines of a file with their ends; only a block of them is in memory."""
    rest = b""
    while block := file.read(BLOCK_BYTES):
        if digest is not None:
            digest.update(block)
        lines = (rest + block).splitlines(keepends=True)
        # The next block may bring more of the last line, or the LF after its CR.
        rest = lines.pop()
        yield from lines
    if rest:
        yield rest


def line_content(line: bytes, is_first: bool) -> bytes:
    """Return a line without its end, and the first one without a byte order mark."""
    content = line.removeprefix(BYTE_ORDER_MARK) if is_first else line
    return content.rstrip(b"\r\n")


def _is_blank(content: bytes) -> bool:
    return not content.strip(b" ")


def line_starts(path: Path) -> NDArray[np.int64]:
    """Return the first byte of every line of a file that is not blank, without parsing them."""
    found = []
    start, before = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            characters = np.frombuffer(before + block, dtype=np.uint8)
            is_end = characters[:-1] == ord("\n")
            is_end |= (characters[:-1] == ord("\r")) & (characters[1:] != ord("\n"))
            begins = np.flatnonzero(is_end)
            # Few lines begin as a blank one may; only those are read.
            suspects = np.isin(characters[begins + 1], np.frombuffer(b" \r\n\xef", dtype=np.uint8))
            for i in np.flatnonzero(suspects):
                suspects[i] = _is_blank_at(path, start + int(begins[i]))
            found.append(begins[~suspects] + start)
            start += len(block)
            before = block[-1:]
    return np.concatenate([np.zeros(0, dtype=np.int64), *found])


def _is_blank_at(path: Path, start: int) -> bool:
    with path.open("rb") as file:
        file.seek(start)
        if start == 0 and file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
            file.seek(0)
        while block := file.read(io.DEFAULT_BUFFER_SIZE):
            if rest := block.lstrip(b" "):
                return rest[:1] in (b"\n", b"\r")
    return True


def parse_line(line: bytes) -> Utterance:
    """Return the utterance in a line.

    Raises:
        ManifestError: The line is wrong; the message is the reason.

    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ManifestError("text that is not UTF-8") from error
    columns = text.split("\t")
    if len(columns) < MIN_COLUMNS:
        raise ManifestError(
            f"{len(columns)} columns, not utt_id, wav_path, text and speaker_id separated by tabs"
        )
    # A tenth of the cost of searching every line's text.
    if line.translate(None, HARMLESS_BYTES):
        for name, value in zip(COLUMNS, columns, strict=False):
            if has_control_character(value):
                raise ManifestError(f"{name} {value!r} has a control character")
    utt_id, wav_path, _, speaker_id = columns[:MIN_COLUMNS]
    _check_utt_id(utt_id)
    if not wav_path:
        raise ManifestError("an empty wav_path")
    if not speaker_id.strip():
        raise ManifestError("an empty speaker_id")
    times = _times(columns[MIN_COLUMNS:])
    segment = _segment(times)
    seconds = segment.end - segment.start if segment else times.get("seconds")
    return Utterance(utt_id, wav_path, speaker_id, seconds, segment)


def _check_utt_id(utt_id: str) -> None:
    """Refuse an utt_id that is not a plain file name."""
    if not utt_id:
        raise ManifestError("an empty utt_id")
    if "/" in utt_id:
        raise ManifestError(f"utt_id {utt_id!r} has a slash")
    if utt_id.startswith("."):
        raise ManifestError(f"utt_id {utt_id!r} starts with a dot")
    if len(utt_id.encode()) > MAX_UTT_ID_BYTES:
        raise ManifestError(f"utt_id {utt_id!r} is longer than {MAX_UTT_ID_BYTES} bytes")


def has_control_character(text: str) -> bool:
    """Tell whether a text has a control character (C0 or C1), such as a line feed."""
    return CONTROL_CHARACTER.search(text) is not None


def _times(more_columns: list[str]) -> dict[str, float]:
    """Return the times in columns such as ``seconds=1.75``, ``start=1.5`` and ``end=3.25``."""
    times: dict[str, float] = {}
    for column in more_columns:
        name, equals, value = column.partition("=")
        if equals and name in TIMES:
            if name in times:
                raise ManifestError(f"a second {name}=")
            try:
                times[name] = float(value)
            except ValueError as error:
                raise ManifestError(f"{column!r} is not a time in seconds") from error
    if not 0 < times.get("seconds", 1.0) < float("inf"):
        raise ManifestError(f"seconds={times['seconds']:g} is not a duration")
    return times


def _segment(times: dict[str, float]) -> Segment | None:
    """Return the segment that a line states, None without one."""
    start, end = times.get("start"), times.get("end")
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise ManifestError("start= and end= belong together, one is missing")
    if not start >= 0:
        raise ManifestError(f"start={start:g}: must be 0 or more")
    if not start < end < float("inf"):
        raise ManifestError(f"start={start:g} and end={end:g}: the end must come after the start")
    return Segment(start, end)
