"""Checks of Ogg pages, because decoders skip damaged ones without an error."""

import zlib
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from xvectors.audio.files import open_file
from xvectors.audio.versions import AudioVersion

HEADER_BYTES = 27
CAPTURE = b"OggS"
FIRST, LAST = 2, 4
BLOCK_BYTES = 2**20
MAX_PAGE_BYTES = 2**16
# Number of files whose results are cached.
MAX_FILES = 256
# Ogg's CRC is zlib's with the bits of each byte in the other order.
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OggPages(NamedTuple):
    """Result of checking the pages of a file.

    Attributes:
        n_links: Number of consecutive streams. Parallel streams count as one.
        problem: Why the file is not whole, None if it is.

    """

    n_links: int
    problem: str | None


def check_pages(file: BinaryIO) -> OggPages:
    """Check the pages of a file.

    Each page has a checksum and a number. The last page of a stream is marked as the last.
    """
    file.seek(0)
    data, place, n_links = b"", 0, 0
    numbers: dict[bytes, int] = {}
    while True:
        page, data = _next_page(file, data)
        if page is None:
            break
        flags, serial, number = page[5], page[14:18], int.from_bytes(page[18:22], "little")
        if _checksum(page) != int.from_bytes(page[22:26], "little"):
            return OggPages(n_links, f"damaged at byte {place}")
        n_links += bool(flags & FIRST) and not numbers
        if not flags & FIRST and numbers.get(serial, -2) + 1 != number:
            return OggPages(n_links, f"damaged: a page is missing at byte {place}")
        numbers[serial] = number
        if flags & LAST:
            del numbers[serial]
        place += len(page)
    if numbers and len(data) > HEADER_BYTES and not data.startswith(CAPTURE):
        return OggPages(n_links, f"damaged at byte {place}")
    problem = "cut off: the last page is missing or incomplete" if numbers else None
    return OggPages(n_links, problem)


def _next_page(file: BinaryIO, data: bytes) -> tuple[bytes | None, bytes]:
    """Return the page that `data` begins with, if it is whole, and what follows it."""
    while True:
        if len(data) > HEADER_BYTES:
            if not data.startswith(CAPTURE):
                return None, data
            content = HEADER_BYTES + data[26]
            end = content + sum(data[HEADER_BYTES:content])
            if len(data) >= end:
                return data[:end], data[end:]
        more = file.read(BLOCK_BYTES)
        if not more:
            return None, data
        data += more


def _checksum(page: bytes) -> int:
    content = page[:22] + bytes(4) + page[26:]
    reversed_crc = zlib.crc32(content.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reversed_crc:032b}"[::-1], 2)


def is_chained(file: BinaryIO) -> bool:
    """Tell whether a file's last page belongs to another stream than its first.

    Streams side by side, such as sound beside pictures, may look so too.
    """
    size = file.seek(0, 2)
    file.seek(0)
    first = file.read(HEADER_BYTES)
    file.seek(max(0, size - MAX_PAGE_BYTES))
    tail = file.read()
    place = tail.rfind(CAPTURE)
    return place < 0 or tail[place + 14 : place + 18] != first[14:18]


@lru_cache(MAX_FILES)
def read_pages(path: str, version: AudioVersion) -> OggPages:
    """Check the pages of a file, once for all of its segments."""
    del version
    with open_file(path) as file:
        return check_pages(file)
