"""Recordings in rows of Parquet files.

A page of a Parquet file can only be read after those before it in its row group. A column is
therefore read forwards, and what was read last is kept for readers that are a little behind.
"""

import io
import os
import threading
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from xvectors.audio.containers import TableRow
from xvectors.errors import UtteranceError, first_line, machine_problem

if TYPE_CHECKING:
    import pyarrow

# Columns that stay open.
MAX_COLUMNS = 4
ROWS_AT_A_TIME = 16
# Readers take a batch of utterances each, so that rows are not asked for in exact order.
MAX_KEPT_ROWS = 256
MAX_KEPT_BYTES = 2**28
READ_BYTES = 2**20
# The field of the hub's columns of audio that holds the file.
BYTES_FIELD = "bytes"


class _Rows(NamedTuple):
    """Rows that were read, and the place of the first one in the file."""

    first: int
    values: "pyarrow.Array[Any]"


class ParquetColumn:
    """A column of a Parquet file whose values are files, or have them in a field ``bytes``."""

    def __init__(self, path: str, column: str) -> None:
        """Read the file's metadata.

        Raises:
            UtteranceError: The column does not exist.
            ArrowException: It is not a Parquet file.
            OSError: It cannot be read.

        """
        import pyarrow  # noqa: PLC0415 - most corpora need none of it
        from pyarrow import parquet  # noqa: PLC0415

        self._file = parquet.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False)
        schema = self._file.schema_arrow
        if column not in schema.names:
            names = ", ".join(schema.names)
            raise UtteranceError(f"no column {column!r} in {path}, which has {names}")
        kind = schema.field(column).type
        self.is_struct = pyarrow.types.is_struct(kind)
        if self.is_struct and not kind.get_field_index(BYTES_FIELD) >= 0:
            raise UtteranceError(f"column {column!r} of {path} has no field {BYTES_FIELD!r}")
        self._column = f"{column}.{BYTES_FIELD}" if self.is_struct else column
        groups = range(self._file.num_row_groups)
        sizes = (self._file.metadata.row_group(group).num_rows for group in groups)
        self._ends = list(accumulate(sizes))
        self._lock = threading.Lock()
        self._kept: deque[_Rows] = deque()
        # The next row of the open row group, and the batches that follow.
        self._next, self._end = 0, 0
        self._batches: Iterator[pyarrow.RecordBatch] = iter(())

    @property
    def n_rows(self) -> int:
        """Number of rows in all row groups."""
        return self._ends[-1] if self._ends else 0

    def value(self, row: int) -> bytes | str | None:
        """Return a row's file, None if it is null.

        Raises:
            UtteranceError: The row does not exist.
            ArrowException, OSError: The file is damaged, or the machine cannot read it.

        """
        if row >= self.n_rows:
            raise UtteranceError(f"there are {self.n_rows} rows")
        with self._lock:
            value = next(
                (rows.values[row - rows.first] for rows in self._kept if row in _range(rows)), None
            )
            if value is None:
                value = self._read(row)
            found: bytes | str | None = value.as_py()
        return found

    def _read(self, row: int) -> Any:
        """Return a value that is not kept, and keep those around it."""
        if not self._next <= row < self._end:
            self._kept.clear()
            group = next(i for i, end in enumerate(self._ends) if row < end)
            self._next, self._end = ([0, *self._ends])[group], self._ends[group]
            self._batches = self._file.iter_batches(
                ROWS_AT_A_TIME, row_groups=[group], columns=[self._column], use_threads=False
            )
        try:
            while self._next <= row:
                values = next(self._batches).column(0)
                rows = _Rows(self._next, values.flatten()[0] if self.is_struct else values)
                self._next += len(values)
                self._keep(rows)
        except BaseException:
            # The next reader starts again.
            self._end = 0
            raise
        return rows.values[row - rows.first]

    def _keep(self, rows: _Rows) -> None:
        self._kept.append(rows)
        while len(self._kept) > 1 and (
            sum(len(one.values) for one in self._kept) > MAX_KEPT_ROWS
            or sum(one.values.nbytes for one in self._kept) > MAX_KEPT_BYTES
        ):
            self._kept.popleft()


def _range(rows: _Rows) -> range:
    return range(rows.first, rows.first + len(rows.values))


def open_row(version: tuple[int, int], member: TableRow) -> io.BytesIO:
    """Return the file in a row of a Parquet file that has this version.

    Raises:
        UtteranceError: The row is null, or the file is damaged or has no such row.
        OSError: The machine cannot read it.

    """
    try:
        # A process that was forked must not share a place in the file with others.
        value = _open_column(member.container, member.column, version, os.getpid()).value(
            member.row
        )
    except UtteranceError as error:
        raise UtteranceError(f"not audio: {member}: {error}") from error
    except Exception as error:
        if not is_damage(error):
            raise
        raise UtteranceError(f"damaged: {member}: {first_line(error)}") from error
    if value is None:
        raise UtteranceError(f"not audio: {member}: the row is null")
    if isinstance(value, str):
        raise UtteranceError(f"not audio: {member}: the row is a text")
    return io.BytesIO(value)


def is_damage(error: Exception) -> bool:
    """Tell whether an error of pyarrow is about the file that it reads, not the machine."""
    import pyarrow  # noqa: PLC0415

    kinds = pyarrow.ArrowException | OSError | UnicodeDecodeError
    return isinstance(error, kinds) and not machine_problem(error)


@lru_cache(MAX_COLUMNS)
def _open_column(path: str, column: str, version: tuple[int, int], process: int) -> ParquetColumn:
    del version, process
    return ParquetColumn(path, column)
