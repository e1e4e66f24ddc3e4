import io
import pickle
import zipfile

import numpy as np
import pytest
import torch

from xvectors.storage import pt_file as embedding_file
from xvectors.storage.pt_file import load_tensor, load_vector, vector_file


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
    loaded = load_tensor(tmp_path / "a.pt")
    assert torch.equal(loaded, content) if torch.is_tensor(content) else loaded == content


def test_a_tensor_of_more_dimensions_is_no_vector(tmp_path):
    torch.save(torch.zeros(1, 3), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"no embedding but torch.float32, \(1, 3\)"):
        load_vector(tmp_path / "a.pt")


def test_a_tensor_in_pytorchs_earlier_format_is_loaded(tmp_path):
    torch.save(torch.ones(3), tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(load_tensor(tmp_path / "a.pt"), torch.ones(3))


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
            loaded = load_tensor(path)
        except Exception:  # torch raises many kinds
            n_found += 1
        else:
            assert loaded.numpy().tobytes() == vector(24).tobytes()
    # The others are in padding.
    assert n_found > len(whole) / 3


@pytest.mark.parametrize("n_bytes", [0, 1, 21, 100, 700, 1500])
def test_a_cut_off_file_is_no_vector(n_bytes, tmp_path):
    (tmp_path / "a.pt").write_bytes(vector_file(vector(192))[:n_bytes])
    with pytest.raises((EOFError, RuntimeError, ValueError, pickle.UnpicklingError)):
        load_vector(tmp_path / "a.pt")
