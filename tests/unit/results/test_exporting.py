import numpy as np
import pytest
import torch
from pyarrow import parquet
from safetensors import safe_open
from safetensors.numpy import load_file

from tests.support.kaldi_files import read_vectors
from xvectors.errors import ExportError, ShardError
from xvectors.results import exporting, sorting
from xvectors.results.exporting import (
    export_kaldi,
    export_numpy,
    export_parquet,
    export_safetensors,
    is_kaldi_in_place,
)
from xvectors.results.speakers import average_speakers
from xvectors.results.tables import EmbeddedRow, write_embedded
from xvectors.storage import safetensors_file

DIM = 5


def write(folder, names):
    """Write a table of random embeddings of utterances, named like ``speaker-number``."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    vectors, rows = {}, []
    for name in names:
        vectors[name] = random.normal(size=DIM).astype(np.float32)
        torch.save(torch.from_numpy(vectors[name]), folder / f"{name}.pt")
        path = str(folder / f"{name}.pt")
        rows.append(EmbeddedRow(name, name.split("-", maxsplit=1)[0], path, 0.25 * len(rows)))
    write_embedded(folder / "train.tsv", rows)
    return folder / "train.tsv", vectors


@pytest.fixture
def split(tmp_path):
    # Not sorted, and not only ASCII; the name of the folder holds what separates elsewhere.
    return write(tmp_path / "a, b:c", ["é-2", "b-1", "é-1", "Z-9", "b-0"])


def test_safetensors_bit_for_bit(split, tmp_path):
    index, vectors = split
    export_safetensors(index, tmp_path / "x.safetensors", {"provenance": '{"a": 1}'})
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == vectors.keys()
    assert all(np.array_equal(found[name], vectors[name]) for name in vectors)
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        assert file.metadata() == {"provenance": '{"a": 1}'}
        assert file.get_tensor("é-1").dtype == torch.float32


def test_safetensors_has_room_for_so_many_names_only(split, tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_file, "MAX_HEADER_BYTES", 300)
    with pytest.raises(ExportError, match="no more than 4 of the names fit into one"):
        export_safetensors(split[0], tmp_path / "x.safetensors", {})
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("export", [export_safetensors, export_parquet])
def test_vectors_of_two_lengths_are_refused(split, tmp_path, export):
    index, _ = split
    # Together they are as long as two others.
    torch.save(torch.zeros(3), index.parent / "b-1.pt")
    torch.save(torch.zeros(7), index.parent / "é-1.pt")
    with pytest.raises(ShardError, match=r"b-1\.pt: holds 3 numbers, .*é-2\.pt 5"):
        export(index, tmp_path / "made", {})
    assert not list(tmp_path.glob("*made*"))


def test_a_name_that_the_format_has_taken(tmp_path):
    index, _ = write(tmp_path / "made", ["__metadata__"])
    with pytest.raises(ExportError, match="__metadata__ is not a valid"):
        export_safetensors(index, tmp_path / "x.safetensors", {})


@pytest.mark.parametrize("rows_per_group", [2, 8192])
def test_parquet_bit_for_bit(split, tmp_path, monkeypatch, rows_per_group):
    monkeypatch.setattr(exporting, "ROWS_PER_GROUP", rows_per_group)
    index, vectors = split
    export_parquet(index, tmp_path / "x.parquet", {"provenance": "{}"})
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.column_names == ["utt_id", "speaker_id", "embedding", "seconds"]
    assert table["utt_id"].to_pylist() == list(vectors)
    assert table["speaker_id"].to_pylist() == ["é", "b", "é", "Z", "b"]
    assert table["seconds"].to_pylist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    found = np.stack(table["embedding"].to_numpy())
    assert np.array_equal(found, np.stack(list(vectors.values())))
    assert table.schema.metadata == {b"provenance": b"{}"}


@pytest.mark.parametrize("rows_at_a_time", [2, 5, 1_000_000])
def test_kaldi_bit_for_bit_and_sorted(split, tmp_path, monkeypatch, rows_at_a_time):
    monkeypatch.setattr(sorting, "ROWS_AT_A_TIME", rows_at_a_time)
    index, vectors = split
    speakers = tmp_path / "speakers.safetensors"
    average_speakers(index, speakers, False, {})
    folder = tmp_path / "a, b:c" / "train.kaldi"
    export_kaldi(index, speakers, folder)
    names = ["Z-9", "b-0", "b-1", "é-1", "é-2"]  # as LC_ALL=C sorts
    scp, ark = read_vectors(folder / "xvector.scp"), read_vectors(folder / "xvector.ark")
    assert list(scp) == list(ark) == names
    for found in (scp, ark):
        assert all(np.array_equal(found[name], vectors[name]) for name in names)
        assert all(vector.dtype == np.float32 for vector in found.values())
    means, found = load_file(speakers), read_vectors(folder / "spk_xvector.scp")
    assert list(found) == ["Z", "b", "é"]
    assert all(np.array_equal(found[name], means[name]) for name in means)
    assert (folder / "utt2spk").read_text().splitlines() == [
        f"{name} {name.split('-')[0]}" for name in names
    ]
    assert (folder / "spk2utt").read_text() == "Z Z-9\nb b-0 b-1\né é-1 é-2\n"


@pytest.mark.parametrize("name", ["a b-1", "-1"])
def test_kaldi_has_no_room_for_spaces_and_empty_names(tmp_path, name):
    index, _ = write(tmp_path / "made", [name])
    average_speakers(index, tmp_path / "s.safetensors", False, {})
    with pytest.raises(ExportError, match="is empty or contains a space"):
        export_kaldi(index, tmp_path / "s.safetensors", tmp_path / "kaldi")


def test_a_split_without_embeddings(tmp_path):
    index, _ = write(tmp_path / "made", [])
    average_speakers(index, tmp_path / "s.safetensors", False, {"counts": "replaced"})
    export_safetensors(index, tmp_path / "x.safetensors", {})
    export_parquet(index, tmp_path / "x.parquet", {})
    export_kaldi(index, tmp_path / "s.safetensors", tmp_path / "kaldi")
    assert load_file(tmp_path / "x.safetensors") == {}
    assert parquet.read_table(tmp_path / "x.parquet").num_rows == 0
    assert (tmp_path / "kaldi" / "xvector.scp").read_text() == ""


def test_numpy_bit_for_bit(split, tmp_path):
    index, vectors = split
    array, names = tmp_path / "train.npy", tmp_path / "train.ids.txt"
    export_numpy(index, array, names)
    found = np.load(array, allow_pickle=False)
    assert found.dtype == np.float32
    assert found.shape == (len(vectors), DIM)
    assert names.read_text(encoding="utf-8").splitlines() == list(vectors)
    assert np.array_equal(found, np.stack(list(vectors.values())))


def test_numpy_of_no_utterance(tmp_path):
    index, _ = write(tmp_path / "none", [])
    export_numpy(index, tmp_path / "train.npy", tmp_path / "train.ids.txt")
    assert np.load(tmp_path / "train.npy").shape == (0, 0)
    assert (tmp_path / "train.ids.txt").read_text() == ""


def test_kaldi_says_whether_its_folder_was_moved(split, tmp_path):
    index, vectors = split
    average_speakers(index, tmp_path / "speakers.safetensors", False, {})
    folder = tmp_path / "train.kaldi"
    export_kaldi(index, tmp_path / "speakers.safetensors", folder)
    assert is_kaldi_in_place(folder)
    moved = folder.rename(tmp_path / "moved.kaldi")
    assert not is_kaldi_in_place(moved)
    # The archives need no paths.
    assert read_vectors(moved / "xvector.ark").keys() == vectors.keys()
    (moved / "xvector.scp").unlink()
    assert not is_kaldi_in_place(moved)
