"""Names of audio inside containers, as the ``wav_path`` of a manifest has them.

``<file>:<offset>+<size>`` names bytes of a file that is not compressed, such as a tar.
``<file>:<offset>`` is Kaldi's name of a recording in an archive, which states its own size.
``<file>:<column>[<row>]`` names a row of a Parquet file.
"""

import os
import re
from typing import NamedTuple

# Numbers of 18 digits fit into 64 bits.
_NUMBER = r"[0-9]{1,18}"
# The part after the last colon.
_PLACE = re.compile(rf"({_NUMBER})(?:\+({_NUMBER}))?|(?P<column>[^/\[\]]+)\[(?P<row>{_NUMBER})\]")
# A range of Kaldi's at the end of a name. Kaldi cuts features so, and refuses it for audio.
_RANGE = re.compile(r"\[[0-9]*[:,][0-9:,]*\]$")
# The last characters of such names, which few other paths end in.
_LAST = frozenset("0123456789]")


class ByteRange(NamedTuple):
    """Bytes of a file. `size` is None where the recording at `offset` states its own size."""

    container: str
    offset: int
    size: int | None = None

    def __str__(self) -> str:
        size = "" if self.size is None else f"+{self.size}"
        return f"{self.container}:{self.offset}{size}"


class TableRow(NamedTuple):
    """A row of a Parquet file, counted from 0 across all of its row groups."""

    container: str
    column: str
    row: int

    def __str__(self) -> str:
        return f"{self.container}:{self.column}[{self.row}]"


Member = ByteRange | TableRow


def parse_member(path: str) -> Member | None:
    """Return the member of a container that a path names, None if it has no such form."""
    if path[-1:] not in _LAST:
        return None
    container, _, place = path.rpartition(":")
    if not container or container[-1] == "/" or (match := _PLACE.fullmatch(place)) is None:
        return None
    offset, size, column, row = match.groups()
    if offset is None:
        return TableRow(container, column, int(row))
    return ByteRange(container, int(offset), None if size is None else int(size))


def find_member(path: str) -> Member | None:
    """Return the member that a path names, None if it is a file's path.

    A file that has this very name comes before a member of a container.
    """
    member = parse_member(path)
    # For a missing file, `access` is three times as fast as `isfile`.
    if member is None or (os.access(path, os.F_OK) and os.path.isfile(path)):  # noqa: PTH113
        return None
    return member


def find_range(path: str) -> str | None:
    """Return the range of Kaldi's that a name ends in, such as ``[0:99]``, None without one."""
    match = _RANGE.search(path)
    return match and match[0]
