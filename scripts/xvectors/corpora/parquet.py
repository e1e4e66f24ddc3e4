"""Reader of data sets in Parquet files, as the hub has them, with the audio inside."""

import os
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from xvectors.audio.containers import TableRow
from xvectors.audio.parquet_rows import is_damage
from xvectors.corpora.containers import find_containers, read_containers
from xvectors.corpora.entries import Entry, LeftOut
from xvectors.corpora.fields import Fields
from xvectors.errors import CorpusError, first_line

if TYPE_CHECKING:
    from pyarrow import DataType, Table
    from pyarrow.parquet import ParquetFile

# The fields of the hub's columns of audio.
BYTES, PATH = "bytes", "path"
# A row group without audio is not larger than this.
MAX_BYTES_READ = 2**20


def read_parquet(
    path: Path,
    *,
    pattern: str = "**/*.parquet",
    audio_field: str = "audio",
    id_field: str | None = None,
    speaker_field: str | None = None,
    text_field: str | None = None,
) -> Iterator[Entry | LeftOut]:
    """Parquet: a data set of the hub, with a column of audio files or of their paths."""
    given = [name for name in (id_field, speaker_field, text_field) if name is not None]
    fields = Fields.of(id_field, speaker_field, text_field)
    read = partial(_read_file, root=path, audio=audio_field, fields=fields, given=given)
    yield from read_containers(find_containers(path, pattern), read)


def _read_file(
    path: Path, root: Path, audio: str, fields: Fields, given: list[str]
) -> list[Entry | LeftOut]:
    from pyarrow import parquet  # noqa: PLC0415 - most corpora need none of it

    try:
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            _check_columns(path, file, [audio, *given])
            name = path.relative_to(root) if path != root else Path(path.name)
            return list(_rows(path, file, audio, fields, str(name.with_suffix(""))))
    except Exception as error:
        if not is_damage(error):
            raise
        raise CorpusError(f"{path}: cannot be read: {first_line(error)}") from error


def _check_columns(path: Path, file: "ParquetFile", wanted: list[str]) -> None:
    names = file.schema_arrow.names
    for name in wanted:
        if name not in names:
            raise CorpusError(f"{path}: no column {name!r}, only {', '.join(names)}")


def _rows(
    path: Path, file: "ParquetFile", audio: str, fields: Fields, stem: str
) -> Iterator[Entry | LeftOut]:
    names = file.schema_arrow.names
    columns = [name for name in dict.fromkeys(chain(*fields)) if name in names]
    row = 0
    for group in range(file.num_row_groups):
        table = _read(path, file, group, columns).to_pylist()
        for values, other in zip(table, _paths(path, file, group, audio), strict=True):
            place = str(TableRow(str(path), audio, row))
            yield fields.entry(place, other or place, values, f"{stem}-{row:06d}")
            row += 1


def _read(path: Path, file: "ParquetFile", group: int, columns: list[str]) -> "Table":
    table = file.read_row_group(group, columns, use_threads=False)
    n_rows = file.metadata.row_group(group).num_rows
    if len(table) != n_rows:
        names = ", ".join(columns)
        raise CorpusError(f"{path}: damaged: {names}: {len(table)} of {n_rows} rows of a row group")
    return table


def _paths(path: Path, file: "ParquetFile", group: int, audio: str) -> list[str | None]:
    """Return the path of each row's audio, None where the row holds the audio or nothing."""
    import pyarrow.compute  # noqa: PLC0415

    row_group = file.metadata.row_group(group)
    n_rows = row_group.num_rows
    kind = file.schema_arrow.field(audio).type
    if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
        return [None] * n_rows
    if _is_text(kind):
        found = _read(path, file, group, [audio]).column(0).to_pylist()
        return [name and str(path.parent / name) for name in found]
    if not pyarrow.types.is_struct(kind) or kind.get_field_index(BYTES) < 0:
        raise CorpusError(
            f"{path}: column {audio!r} is {kind}, not files, their paths, or a struct of both; "
            "name another one with audio_field"
        )
    if kind.get_field_index(PATH) < 0 or not _is_text(kind.field(PATH).type):
        return [None] * n_rows
    rows = _read(path, file, group, [f"{audio}.{PATH}"]).column(0).to_pylist()
    names = [row and row[PATH] and str(path.parent / row[PATH]) for row in rows]
    # The bytes count first, but reading them takes long. Nulls are not looked up in the metadata:
    # if these are damaged, pyarrow ends the process.
    is_short = row_group.total_byte_size <= MAX_BYTES_READ
    if not is_short and not any(name and os.path.isfile(name) for name in names):  # noqa: PTH113
        return [None] * n_rows
    values = _read(path, file, group, [f"{audio}.{BYTES}"]).column(0)
    held = pyarrow.compute.struct_field(values, [0]).is_valid().to_pylist()
    return [None if is_held else name or None for is_held, name in zip(held, names, strict=True)]


def _is_text(kind: "DataType") -> bool:
    import pyarrow  # noqa: PLC0415

    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))
