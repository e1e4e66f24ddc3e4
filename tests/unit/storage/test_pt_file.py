import io
import pickle
import zipfile

import numpy as np
import pytest
import torch

from xvectors.storage import pt_file as embedding_file
from xvectors.storage.pt_file import (
    discard,
    load_any,
    load_vector,
    read_provenance,
    save_embedding,
    stamp,
    vector_file,
)


def vector(n_numbers: int) -> np.ndarray:
    return np.random.default_rng(n_numbers).normal(size=n_numbers).astype(np.float32)


@pytest.mark.parametrize("n_numbers", [1, 3, 192, 255, 256, 512, 65535, 65536])
def test_torch_loads_what_is_written(n_numbers, tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(vector_file(vector(n_numbers)))
    loaded = torch.load(path, weights_only=True)
    assert (loaded.dtype, loaded.shape) == (torch.float32, (n_numbers,))
    assert loaded.numpy().tobytes() == vector(n_numbers).tobytes()


@pytest.mark.parametrize("n_numbers", [1, 255, 256, 65536])
def test_what_torch_saves_is_read_without_it(n_numbers, tmp_path, monkeypatch):
    torch.save(torch.from_numpy(vector(n_numbers)), tmp_path / "a.pt")
    monkeypatch.setattr(embedding_file, "_load_anything", None)
    assert load_vector(tmp_path / "a.pt").tobytes() == vector(n_numbers).tobytes()


def test_a_file_holds_what_torchs_own_does():
    buffer = io.BytesIO()
    torch.save(torch.from_numpy(vector(192)), buffer)
    theirs, ours = zipfile.ZipFile(buffer), zipfile.ZipFile(io.BytesIO(vector_file(vector(192))))
    assert ours.testzip() is None
    assert ours.namelist() == theirs.namelist()
    names = [name for name in ours.namelist() if not name.endswith("serialization_id")]
    assert [ours.read(name) for name in names] == [theirs.read(name) for name in names]


@pytest.mark.parametrize(
    "content",
    [torch.zeros(2, 3), torch.zeros(3, dtype=torch.float64), torch.zeros(6)[::2], {"a": 1}],
)
def test_anything_else_is_left_to_torch(content, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    loaded = load_any(tmp_path / "a.pt")
    assert torch.equal(loaded, content) if torch.is_tensor(content) else loaded == content


def test_a_tensor_of_more_dimensions_is_no_vector(tmp_path):
    torch.save(torch.zeros(1, 3), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"holds torch.float32 of shape \(1, 3\), not an"):
        load_vector(tmp_path / "a.pt")


def test_a_tensor_in_pytorchs_earlier_format_is_loaded(tmp_path):
    torch.save(torch.ones(3), tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert load_any(tmp_path / "a.pt").tolist() == [1, 1, 1]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_flipped_bit_makes_another_vector(tmp_path):
    path = tmp_path / "a.pt"
    whole = vector_file(vector(24))
    n_found = 0
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            loaded = load_any(path)
        except Exception:  # torch raises many kinds
            n_found += 1
        else:
            assert np.asarray(loaded).tobytes() == vector(24).tobytes()
    # The others are in padding.
    assert n_found > len(whole) / 3


@pytest.mark.parametrize("n_bytes", [0, 1, 21, 100, 700, 1500])
def test_a_cut_off_file_is_no_vector(n_bytes, tmp_path):
    (tmp_path / "a.pt").write_bytes(vector_file(vector(192))[:n_bytes])
    with pytest.raises((EOFError, RuntimeError, ValueError, pickle.UnpicklingError)):
        load_vector(tmp_path / "a.pt")


MADE_BY = b'{"encoder":"abc"}'


def test_an_embedding_loads_as_before_and_carries_its_provenance(tmp_path):
    path = tmp_path / "a.pt"
    embedding = torch.randn(192)
    save_embedding(embedding, path, MADE_BY)
    assert torch.equal(torch.load(path, weights_only=True), embedding)
    assert torch.equal(torch.load(path, weights_only=True, mmap=True), embedding)
    assert read_provenance(path) == MADE_BY
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pt"]


def test_a_row_of_a_batch_does_not_take_the_batch_along(tmp_path):
    save_embedding(torch.zeros(1000, 192)[3], tmp_path / "row.pt", MADE_BY)
    assert (tmp_path / "row.pt").stat().st_size < 3000


def test_a_file_cut_short_anywhere_has_no_provenance(tmp_path):
    path = tmp_path / "a.pt"
    save_embedding(torch.randn(192), path, MADE_BY)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert read_provenance(path) is None


def test_there_is_none_without_a_file(tmp_path):
    assert read_provenance(tmp_path / "none.pt") is None


def test_stamping_a_runners_own_tensor_file(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"pitch": torch.ones(3)}, path)
    assert read_provenance(path) is None
    stamp(path, MADE_BY)
    assert read_provenance(path) == MADE_BY
    assert torch.equal(torch.load(path, weights_only=True)["pitch"], torch.ones(3))


def test_a_folder_in_place_of_a_file_is_not_discarded(tmp_path):
    (tmp_path / "a.pt").mkdir()
    discard(tmp_path / "a.pt")
    assert (tmp_path / "a.pt").is_dir()


def test_stamping_another_kind_of_file(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.ones(3))
    stamp(path, MADE_BY)
    assert read_provenance(path) == MADE_BY
    assert np.array_equal(np.load(path), np.ones(3))
    path.unlink()
    assert read_provenance(path) is None
    discard(path)
    assert list(tmp_path.iterdir()) == []
