import pyarrow
import pytest
from pyarrow import parquet

from tests.support.containers import write_parquet
from xvectors.audio import parquet_rows
from xvectors.audio.files import open_file
from xvectors.audio.parquet_rows import ParquetColumn
from xvectors.errors import UtteranceError


@pytest.fixture
def table(tmp_path):
    """A table of 100 rows, in groups of 40."""
    path = tmp_path / "t.parquet"
    write_parquet(path, {"audio": [{"bytes": b"%d" % i, "path": None} for i in range(100)]}, 40)
    return path


def read(path, row, column="audio"):
    with open_file(f"{path}:{column}[{row}]") as file:
        return file.read()


@pytest.mark.parametrize("rows", [range(100), range(99, -1, -1), [50, 3, 51, 99, 39, 40, 0]])
def test_rows_in_any_order(table, rows):
    assert [read(table, row) for row in rows] == [b"%d" % row for row in rows]


def test_rows_are_read_forwards_once(table, monkeypatch):
    monkeypatch.setattr(parquet_rows, "ROWS_AT_A_TIME", 5)
    column = ParquetColumn(str(table), "audio")
    opened = []
    iterate = column._file.iter_batches
    monkeypatch.setattr(
        column._file,
        "iter_batches",
        lambda *args, **kwargs: opened.append(kwargs["row_groups"]) or iterate(*args, **kwargs),
    )
    for row in range(100):
        # A reader that is a batch behind.
        for asked in (row, max(row // 40 * 40, row - 20)):
            assert column.value(asked) == b"%d" % asked
    assert opened == [[0], [1], [2]]


def test_few_rows_are_kept(table, monkeypatch):
    monkeypatch.setattr(parquet_rows, "ROWS_AT_A_TIME", 5)
    monkeypatch.setattr(parquet_rows, "MAX_KEPT_ROWS", 10)
    column = ParquetColumn(str(table), "audio")
    column.value(39)
    assert [rows.first for rows in column._kept] == [30, 35]
    assert column.value(1) == b"1"


def test_a_table_that_is_replaced(table):
    assert read(table, 3) == b"3"
    write_parquet(table, {"audio": [{"bytes": b"other", "path": None}] * 5})
    assert read(table, 3) == b"other"


def test_columns_of_plain_files(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"flac": [b"one", None], "name": ["a", "b"]}), path)
    assert read(path, 0, "flac") == b"one"
    with pytest.raises(UtteranceError, match=r"^not audio: .*:flac\[1\]: the row is null"):
        read(path, 1, "flac")
    with pytest.raises(UtteranceError, match="the row is a text"):
        read(path, 1, "name")


def test_null_rows(tmp_path):
    path = tmp_path / "t.parquet"
    audio = [{"bytes": b"one", "path": None}, {"bytes": None, "path": "b"}, None]
    write_parquet(path, {"audio": audio})
    assert read(path, 0) == b"one"
    for row in (1, 2):
        with pytest.raises(UtteranceError, match=rf"^not audio: .*\[{row}\]: the row is null"):
            read(path, row)


def test_what_is_not_in_a_table(table):
    with pytest.raises(UtteranceError, match=r"\[100\]: there are 100 rows"):
        read(table, 100)
    with pytest.raises(UtteranceError, match=r"no column 'sound' in .*, which has audio"):
        read(table, 0, "sound")
    parquet.write_table(pyarrow.table({"audio": [{"x": 1}]}), table)
    with pytest.raises(UtteranceError, match=r"column 'audio' of .* has no field 'bytes'"):
        read(table, 0)


def test_a_damaged_row_group_spares_the_others(tmp_path):
    path = tmp_path / "t.parquet"
    audio = [{"bytes": b"%d" % i * 1000, "path": None} for i in range(90)]
    write_parquet(path, {"audio": audio}, 30)
    group = parquet.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    start = group.dictionary_page_offset or group.data_page_offset
    content[start : start + group.total_compressed_size] = b"\xff" * group.total_compressed_size
    path.write_bytes(content)
    assert read(path, 29) == b"29" * 1000 or read(path, 29)
    for row in (30, 59):
        with pytest.raises(UtteranceError, match=rf"^damaged: .*\[{row}\]: "):
            read(path, row)
    assert read(path, 60) == b"60" * 1000


def test_a_table_that_is_cut_off(table):
    table.write_bytes(table.read_bytes()[:-10])
    with pytest.raises(UtteranceError, match=r"^damaged: .*\[3\]: "):
        read(table, 3)
