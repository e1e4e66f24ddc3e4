"""Reading a little of each of many files, in threads if reading waits for a disk or a network.

If the files are in memory, threads only wait for each other: Python computes in one of them at a
time, and switching between them takes longer than reading a header.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

HEADER_READERS = 16
# For each file that a probe reads alone, threads read this many before the next probe.
FILES_PER_PROBE = 32
# A probe reads files alone for this long.
PROBE_SECONDS = 0.005
# If computing takes at least this share of a probe, threads are not used.
COMPUTING_SHARE = 0.5

Item = TypeVar("Item")
Found = TypeVar("Found")


def map_overlapped(read: Callable[[Item], Found], items: Sequence[Item]) -> Iterator[Found]:
    """Yield what `read` returns for each item, in their order."""
    with ThreadPoolExecutor(HEADER_READERS) as readers:
        try:
            start = 0
            while start < len(items):
                found, is_waiting = _probe(read, items, start)
                yield from found
                start += len(found)
                if is_waiting:
                    some = items[start : start + len(found) * FILES_PER_PROBE]
                    yield from readers.map(read, some)
                    start += len(some)
        finally:
            readers.shutdown(cancel_futures=True)


def _probe(
    read: Callable[[Item], Found], items: Sequence[Item], start: int
) -> tuple[list[Found], bool]:
    """Read the next items for a short time, and tell whether that was mostly spent on waiting."""
    found: list[Found] = []
    began, computed = time.perf_counter(), time.thread_time()
    while (wall := time.perf_counter() - began) < PROBE_SECONDS and start + len(found) < len(items):
        found.append(read(items[start + len(found)]))
    return found, time.thread_time() - computed < COMPUTING_SHARE * wall
