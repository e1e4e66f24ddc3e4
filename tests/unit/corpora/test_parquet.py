import pyarrow
import pytest
from pyarrow import parquet

from tests.support.containers import write_parquet
from xvectors.corpora.entries import Entry
from xvectors.corpora.parquet import read_parquet
from xvectors.errors import CorpusError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "t.parquet"


def test_columns_by_name(path):
    table = {
        "sound": [{"bytes": b"1", "path": "x"}] * 4,
        "name": ["a", "b", "c", "d"],
        "who": [1, 2, 3, None],
        "said": ["x", None, "z", ""],
        "duration": [1.5, None, 2.0, 0.0],
    }
    write_parquet(path, table)
    fields = {"id_field": "name", "speaker_field": "who", "text_field": "said"}
    assert list(read_parquet(path, audio_field="sound", **fields)) == [
        Entry(place, utt_id, place, text, speaker, seconds)
        for place, utt_id, text, speaker, seconds in (
            (f"{path}:sound[0]", "a", "x", "1", 1.5),
            (f"{path}:sound[1]", "b", "", "2", None),
            (f"{path}:sound[2]", "c", "z", "3", 2.0),
            (f"{path}:sound[3]", "d", "", "d", None),
        )
    ]


@pytest.mark.parametrize("most", [10**6, 0])
def test_rows_with_paths_and_null_rows(tmp_path, path, monkeypatch, most):
    monkeypatch.setattr("xvectors.corpora.parquet.MAX_BYTES_READ", most)
    # A row group that may hold audio is only looked at if one of its paths exists.
    for name in ("x", "z.wav") if most == 0 else ():
        (tmp_path / name).touch()
    audio = [{"bytes": b"1", "path": "x"}, {"bytes": None, "path": "y.wav"}, None]
    audio += [{"bytes": None, "path": None}, {"bytes": None, "path": "z.wav"}]
    write_parquet(path, {"audio": audio}, rows_in_group=4)
    assert [entry.wav_path for entry in read_parquet(tmp_path)] == [
        f"{path}:audio[0]",
        f"{tmp_path}/y.wav",
        f"{path}:audio[2]",
        f"{path}:audio[3]",
        f"{tmp_path}/z.wav",
    ]


def test_no_audio_is_read(path, monkeypatch):
    content = bytes(range(256)) * 2**11
    write_parquet(path, {"audio": [{"bytes": content, "path": "x"}] * 4, "text": ["a"] * 4})
    monkeypatch.setattr("xvectors.corpora.parquet.MAX_BYTES_READ", 1000)
    read, columns = parquet.ParquetFile.read_row_group, set()

    def note(self, group, names, **options):
        columns.update(names)
        return read(self, group, names, **options)

    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", note)
    assert len(list(read_parquet(path))) == 4
    assert columns == {"audio.path", "text"}


@pytest.mark.parametrize("kind", [pyarrow.binary(), pyarrow.large_binary()])
def test_a_column_of_plain_files(path, kind):
    parquet.write_table(pyarrow.table({"audio": pyarrow.array([b"1", None], kind)}), path)
    assert [entry.wav_path for entry in read_parquet(path)] == [
        f"{path}:audio[0]",
        f"{path}:audio[1]",
    ]


def test_a_column_of_paths(tmp_path, path):
    parquet.write_table(pyarrow.table({"audio": ["wav/a.wav", "/b.wav", None]}), path)
    found = [entry.wav_path for entry in read_parquet(path)]
    assert found == [f"{tmp_path}/wav/a.wav", "/b.wav", f"{path}:audio[2]"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"audio_field": "sound"}, "no column 'sound', only audio"),
        ({"text_field": "said"}, "no column 'said', only audio"),
        ({}, "column 'audio' is int64, not files, their paths, or a struct of both"),
    ],
)
def test_columns_that_are_not_there(path, options, reason):
    parquet.write_table(pyarrow.table({"audio": [1]}), path)
    with pytest.raises(CorpusError, match=f"^{path}: {reason}"):
        list(read_parquet(path, **options))


def test_a_name_of_a_column_that_is_not_utf8(path):
    write_parquet(path, {"audio": [{"bytes": b"1", "path": "x"}], "said": ["a"]})
    path.write_bytes(path.read_bytes().replace(b"said", b"s\xff\xfed"))
    with pytest.raises(CorpusError, match=f"^{path}: cannot be read: 'utf-8' codec can't decode"):
        list(read_parquet(path))


def test_what_is_not_parquet(path):
    path.write_bytes(b"x" * 100)
    with pytest.raises(CorpusError, match=f"^{path}: cannot be read: "):
        list(read_parquet(path))


def test_damaged_metadata(path):
    write_parquet(path, {"audio": [{"bytes": b"1", "path": "x"}] * 4})
    content = path.read_bytes()
    # The column of paths becomes one that cannot hold nulls, unlike its statistics of levels.
    optional, required = b"\x25\x02\x18\x04path", b"\x25\x00\x18\x04path"
    assert content.count(optional) == 1
    path.write_bytes(content.replace(optional, required))
    with pytest.raises(CorpusError, match=f"^{path}: cannot be read: .*histogram size mismatch"):
        list(read_parquet(path))
