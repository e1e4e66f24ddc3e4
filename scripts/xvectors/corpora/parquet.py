"""Reader of data sets in Parquet files, as the hub has them, with the audio inside."""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xvectors.audio.containers import TableRow
from xvectors.audio.parquet_rows import is_damage
from xvectors.corpora.containers import Fields, find_containers, read_containers
from xvectors.corpora.entries import Entry, LeftOut
from xvectors.errors import CorpusError, first_line

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

# The fields of the hub's columns of audio.
BYTES, PATH = "bytes", "path"


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
        table = file.read_row_group(group, columns, use_threads=False).to_pylist()
        for values, other in zip(table, _paths(path, file, group, audio), strict=True):
            place = str(TableRow(str(path), audio, row))
            yield fields.entry(place, other or place, values, f"{stem}-{row:06d}")
            row += 1


def _paths(path: Path, file: "ParquetFile", group: int, audio: str) -> list[str | None]:
    """Return the path of each row's audio, None where the row holds the audio or nothing."""
    import pyarrow  # noqa: PLC0415

    n_rows = file.metadata.row_group(group).num_rows
    kind = file.schema_arrow.field(audio).type
    if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
        return [None] * n_rows
    if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
        found = file.read_row_group(group, [audio]).column(0).to_pylist()
        return [name and str(path.parent / name) for name in found]
    if not pyarrow.types.is_struct(kind) or kind.get_field_index(BYTES) < 0:
        raise CorpusError(
            f"{path}: column {audio!r} is {kind}, not files, their paths, or a struct of both; "
            "name another one with audio_field"
        )
    n_null = _count_nulls(file, group, f"{audio}.{BYTES}")
    if n_null == 0 or kind.get_field_index(PATH) < 0:
        return [None] * n_rows
    names = file.read_row_group(group, [f"{audio}.{PATH}"]).column(0).to_pylist()
    if n_null == n_rows:
        has_bytes = [False] * n_rows
    else:
        values = file.read_row_group(group, [f"{audio}.{BYTES}"]).column(0)
        has_bytes = [value.as_py() is not None and value[BYTES].is_valid for value in values]
    return [
        None if held or not (name and name[PATH]) else str(path.parent / name[PATH])
        for held, name in zip(has_bytes, names, strict=True)
    ]


def _count_nulls(file: "ParquetFile", group: int, column: str) -> int | None:
    """Return the number of nulls in a column of a row group, None if it is not stated."""
    row_group = file.metadata.row_group(group)
    for i in range(row_group.num_columns):
        chunk: Any = row_group.column(i)
        if chunk.path_in_schema == column:
            statistics = chunk.statistics
            return statistics.null_count if statistics and statistics.has_null_count else None
    return None
