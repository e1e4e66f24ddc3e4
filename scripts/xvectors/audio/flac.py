"""The length of FLAC, which its last frame tells where its header is wrong.

libFLAC stops at the number of samples that the header states, without an error if more follow.
"""
# ruff: noqa: PLR2004 - numbers of the format, which have no names

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from xvectors.audio.byte_ranges import is_open_ended
from xvectors.audio.wrapped_file import WrappedFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MARK = b"fLaC"
# The mark, and the first block of metadata, STREAMINFO.
HEAD_BYTES = 42
SYNC = re.compile(rb"\xff[\xf8\xf9]")
# Longest header of a frame.
FRAME_HEAD_BYTES = 16
# Bytes at the end that are searched for frames: at first, and at most, where tags follow them.
MAX_FIRST_BYTES = 2**17
MAX_TAIL_BYTES = 2**24
# Bytes that many programs leave behind the last frame.
TAG_BYTES = 2**12
# Block sizes by their codes; 0 is reserved, and 6 and 7 mean that the size follows.
BLOCK_SIZES = {1: 192} | {code: 144 << code for code in range(2, 6)}
BLOCK_SIZES |= {code: 1 << code for code in range(8, 16)}
# Bytes of the size and of the rate that follow a header's number.
SIZE_BYTES = {6: 1, 7: 2}
RATE_BYTES = {12: 1, 13: 2, 14: 2}


def _crc8_of_a_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte << 1 ^ (0x107 if byte & 0x80 else 0)
    return byte


CRC8 = [_crc8_of_a_byte(byte) for byte in range(256)]


class _Frame(NamedTuple):
    """A frame: where it begins in the bytes searched, its first sample, and the one after it."""

    place: int
    start: int
    end: int


def stated_length(head: bytes) -> tuple[int, int] | None:
    """Return samples and rate in Hz that a file's first `HEAD_BYTES` state, None if they do not."""
    if len(head) < HEAD_BYTES or not head.startswith(MARK):
        return None
    fields = int.from_bytes(head[18:26], "big")
    n_samples, rate = fields % 2**36, fields >> 44
    return (n_samples, rate) if n_samples else None


def with_true_length(file: BinaryIO) -> BinaryIO:
    """Return a file of FLAC whose header states all samples, or the file as it is.

    A recording in an archive whose end is not known stays as it is.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    stated = stated_length(head)
    # A length that was never written is 0. Decoders then read up to the end.
    if stated is None or is_open_ended(file):
        return file
    found = _end(file, head)
    if found <= stated[0]:
        return file
    return cast("BinaryIO", RestatedFile(file, head, found))


class RestatedFile(WrappedFile):
    """A file of FLAC with another number of samples in its header. It closes the file."""

    def __init__(self, file: BinaryIO, head: bytes, n_samples: int) -> None:
        super().__init__(file)
        file.seek(0)
        fields = int.from_bytes(head[18:26], "big") >> 36 << 36 | n_samples
        self._head = head[:18] + fields.to_bytes(8, "big") + head[26:]

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read the next bytes, none at the end."""
        view = memoryview(buffer).cast("B")
        place = self._file.tell()
        n_read: int = self._file.readinto(view) or 0  # type: ignore[attr-defined]
        changed = self._head[place : place + n_read]
        view[: len(changed)] = changed
        return n_read

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and return it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()


def _end(file: BinaryIO, head: bytes) -> int:
    """Return the number of samples up to the end of the last frame, 0 if none is found."""
    size = file.seek(0, os.SEEK_END)
    max_block, max_frame = int.from_bytes(head[10:12], "big"), int.from_bytes(head[15:18], "big")
    n_bytes = min(2 * max_frame or MAX_FIRST_BYTES, MAX_FIRST_BYTES) + TAG_BYTES
    while True:
        file.seek(max(0, size - n_bytes))
        frames = list(_frames(file.read(n_bytes), max_block))
        # Others may look like a frame by chance, but do not go on where one ends.
        ends = {frame.end for frame in frames}
        if found := [frame.end for frame in frames if frame.start in ends]:
            return max(found)
        if n_bytes >= min(size, MAX_TAIL_BYTES):
            break
        n_bytes *= 2
    first = _first_place(file) if n_bytes >= size else None
    return next((frame.end for frame in frames if frame[:2] == (first, 0)), 0)


def _first_place(file: BinaryIO) -> int:
    """Return where the first frame begins: behind the blocks of metadata."""
    place, is_last = len(MARK), False
    while not is_last:
        file.seek(place)
        header = file.read(4)
        is_last = len(header) < 4 or header[0] >= 0x80
        place += 4 + int.from_bytes(header[1:], "big")
    return place


def _frames(data: bytes, max_block: int) -> Iterator[_Frame]:
    """Yield what looks like a frame's header and has the right checksum."""
    for match in SYNC.finditer(data):
        found = _parse(data[match.start() : match.start() + FRAME_HEAD_BYTES], max_block)
        if found is not None:
            yield _Frame(match.start(), *found)


def _parse(header: bytes, max_block: int) -> tuple[int, int] | None:
    """Return the first sample of the frame with a header, and the one after its last."""
    if len(header) < 6:
        return None
    size_code, rate_code = header[2] >> 4, header[2] & 15
    if size_code == 0 or rate_code == 15 or header[3] >> 4 > 10 or header[3] & 1:
        return None
    number, n_bytes = _coded_number(header[4:])
    place = 4 + n_bytes
    size_end = place + SIZE_BYTES.get(size_code, 0)
    end = size_end + RATE_BYTES.get(rate_code, 0)
    if n_bytes == 0 or end >= len(header) or crc8(header[:end]) != header[end]:
        return None
    size = BLOCK_SIZES.get(size_code) or int.from_bytes(header[place:size_end], "big") + 1
    is_variable = header[1] & 1
    start = number if is_variable else number * max_block
    return start, start + size


def _coded_number(data: bytes) -> tuple[int, int]:
    """Return a number that is coded like UTF-8, up to 36 bits, and its bytes; 0 bytes for none."""
    n_bytes = 8 - (data[0] ^ 0xFF).bit_length()
    if n_bytes == 0:
        return data[0], 1
    more = data[1:n_bytes]
    if n_bytes in {1, 8} or len(more) < n_bytes - 1 or any(byte >> 6 != 2 for byte in more):
        return 0, 0
    number = data[0] & (0x7F >> n_bytes)
    for byte in more:
        number = number << 6 | byte & 0x3F
    return number, n_bytes


def crc8(data: bytes) -> int:
    """Return the checksum of a frame's header."""
    found = 0
    for byte in data:
        found = CRC8[found ^ byte]
    return found
