"""Sizes that headers state, for formats whose decoder does not check them.

If a header states more bytes than the file has, libsndfile reads up to the end. So a file that was
cut off looks like a shorter one.
"""
# ruff: noqa: PLR2004 - numbers of the formats, which have no names

import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO, NamedTuple

# Programs that write to a pipe cannot fill in the length afterwards. They leave 0, the largest
# number, or (SoX) a slightly smaller one.
MIN_UNKNOWN = 0x7F000000
# No file is longer. File systems refuse to seek beyond about 2**44.
MAX_PLACE = 2**40
W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
W64_HEADER_BYTES = 40
NIST_HEADER_BYTES = 1024


class StatedBytes(NamedTuple):
    """Bytes of audio that a file's header states, and that the file has.

    `stated` is None if the length was never written.
    """

    stated: int | None
    available: int

    @property
    def missing_part(self) -> float:
        """Share of the stated audio that is missing."""
        if not self.stated:
            return 0.0
        return max(0.0, 1 - self.available / self.stated)


def stated_bytes(file: BinaryIO) -> StatedBytes | None:
    """Return a file's bytes of audio, None if its kind is unknown or its header is incomplete."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    for magic, offset, form, find in KINDS:
        if head.startswith(magic) and head[offset : offset + len(form)] == form:
            try:
                found = find(file)
            except (struct.error, ValueError, IndexError, KeyError):
                return None
            if found is None:
                return None
            start, stated = found
            return StatedBytes(stated, max(0, size - start))
    return None


def _chunks(file: BinaryIO, start: int, order: str, size: str = "I") -> Iterator[tuple[bytes, int]]:
    """Yield each chunk's name and size, with the file positioned at the chunk's content."""
    header = struct.Struct(f"{order}4s{size}")
    while 0 <= start < MAX_PLACE:
        file.seek(start)
        name, length = header.unpack(file.read(header.size))
        yield name, length
        start += header.size + length + (length % 2 if size == "I" else 0)


def _riff(file: BinaryIO, order: str = "<") -> tuple[int, int | None] | None:
    file.seek(0)
    magic, riff_size = struct.unpack(f"{order}4sI", file.read(8))
    long_size = None
    for name, length in _chunks(file, 12, order):
        if name == b"ds64":
            _, long_size = struct.unpack("<QQ", file.read(16))
        if name == b"data":
            start = file.tell()
            if magic in {b"RF64", b"BW64"}:
                return start, long_size or None
            # A finished file may be empty: only where nothing was filled in is 0 unknown.
            is_unfinished = length == 0 and riff_size + 8 <= start
            is_unknown = length >= MIN_UNKNOWN or is_unfinished
            return start, None if is_unknown else length
    return None


def _w64(file: BinaryIO) -> tuple[int, int | None] | None:
    start = W64_HEADER_BYTES
    while 0 <= start < MAX_PLACE:
        file.seek(start)
        name, size = struct.unpack("<16sQ", file.read(24))
        if name.startswith(b"data"):
            return start + 24, size - 24 if 24 < size < 2**63 else None
        if size < 24:
            return None
        start += (size + 7) // 8 * 8
    return None


def _aiff(file: BinaryIO) -> tuple[int, int | None] | None:
    for name, length in _chunks(file, 12, ">"):
        if name == b"SSND":
            return file.tell() + 8, length - 8 if 8 < length < MIN_UNKNOWN else None
    return None


def _au(file: BinaryIO) -> tuple[int, int | None] | None:
    file.seek(4)
    start, length = struct.unpack(">II", file.read(8))
    return start, length if 0 < length < MIN_UNKNOWN else None


def _caf(file: BinaryIO) -> tuple[int, int | None] | None:
    for name, length in _chunks(file, 8, ">", "q"):
        if name == b"data":  # Its content begins with a number of edits, of four bytes.
            return file.tell() + 4, length - 4 if length > 4 else None
        if length < 0:
            return None
    return None


def _nist(file: BinaryIO) -> tuple[int, int | None] | None:
    file.seek(0)
    lines = file.read(NIST_HEADER_BYTES).split(b"\n")
    start = int(lines[1])
    fields = dict(line.split(None, 2)[::2] for line in lines[2:] if len(line.split(None, 2)) == 3)
    if b"shorten" in fields.get(b"sample_coding", b""):
        return None
    count = int(fields[b"sample_count"]) * int(fields.get(b"channel_count", b"1"))
    length = count * int(fields.get(b"sample_n_bytes", b"2"))
    return start, length if length > 0 else None


# Each kind's first bytes, where a second mark stands, that mark, and the function that looks.
KINDS: list[tuple[bytes, int, bytes, Callable[[BinaryIO], tuple[int, int | None] | None]]] = [
    (b"RIFF", 8, b"WAVE", _riff),
    (b"RIFX", 8, b"WAVE", partial(_riff, order=">")),
    (b"RF64", 8, b"WAVE", _riff),
    (b"BW64", 8, b"WAVE", _riff),
    (W64_RIFF, 0, b"riff", _w64),
    (b"FORM", 8, b"AIF", _aiff),
    (b".snd", 0, b".snd", _au),
    (b"caff", 0, b"caff", _caf),
    (b"NIST_1A", 0, b"NIST", _nist),
]
