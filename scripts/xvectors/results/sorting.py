"""External merge sort, for more rows than fit into memory."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

# Rows in memory at a time, about 200 MB.
ROWS_AT_A_TIME = 1_000_000


def sorted_rows(rows: Iterable[Sequence[str]], folder: Path) -> Iterator[list[str]]:
    """Yield any number of rows in the byte order of their fields, as ``LC_ALL=C sort`` does.

    Fields have no tabs and no line feeds. The sorted parts are in files in `folder` without names,
    which vanish with the process.
    """
    lines = ("\t".join(row).encode() + b"\n" for row in rows)
    with ExitStack() as stack:
        parts: list[IO[bytes]] = []
        while part := sorted(islice(lines, ROWS_AT_A_TIME), key=_fields):
            parts.append(stack.enter_context(TemporaryFile(dir=folder)))
            parts[-1].writelines(part)
            parts[-1].seek(0)
        for line in heapq.merge(*parts, key=_fields):
            yield [field.decode() for field in _fields(line)]


def _fields(line: bytes) -> list[bytes]:
    return line[:-1].split(b"\t")
