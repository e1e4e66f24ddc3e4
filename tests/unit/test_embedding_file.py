import io

import numpy as np
import pytest
import torch

from xvectors import embedding_file
from xvectors.embedding_file import read_embedding
from xvectors.provenance import load_tensor, save_embedding


@pytest.fixture(autouse=True)
def no_known_forms(monkeypatch):
    monkeypatch.setattr(embedding_file, "_forms", {})


# 300 is too long for a byte of the pickle.
@pytest.mark.parametrize("dim", [1, 192, 256, 300, 70_000])
@pytest.mark.parametrize("made_by", [b"", b'{"toolkit":"speechbrain"}'])
def test_what_was_saved_is_read_fast_and_slowly(tmp_path, monkeypatch, dim, made_by):
    vectors = torch.randn(3, dim)
    for i, vector in enumerate(vectors):
        save_embedding(vector, tmp_path / f"{i}.pt", made_by)
        assert np.array_equal(read_embedding(tmp_path / f"{i}.pt"), vector.numpy())
        # From the second file on.
        monkeypatch.setattr(embedding_file, "load_tensor", None)


def test_lengths_in_turn(tmp_path):
    for dim in (5, 192, 5, 7, 192):
        vector = torch.randn(dim)
        save_embedding(vector, tmp_path / "x.pt")
        assert np.array_equal(read_embedding(tmp_path / "x.pt"), vector.numpy())


@pytest.mark.parametrize("is_known", [False, True])
def test_a_flipped_bit_anywhere_is_found_or_harmless(tmp_path, is_known):
    path = tmp_path / "x.pt"
    vector = torch.randn(192)
    save_embedding(vector, path)
    content = path.read_bytes()
    if is_known:
        read_embedding(path)
    n_found = 0
    for byte in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[byte] ^= 1 << byte % 8
        path.write_bytes(damaged)
        try:
            found = read_embedding(path)
        except Exception:
            n_found += 1
        else:
            # In what fills the file up, say; torch is of the same opinion.
            assert np.array_equal(found, vector.numpy())
            assert torch.equal(load_tensor(path), vector)
    assert n_found > 150


def test_a_flipped_bit_of_a_number(tmp_path):
    path = tmp_path / "x.pt"
    save_embedding(torch.randn(192), path, b"{}")
    content = path.read_bytes()
    start = content.index(read_embedding(path).tobytes())
    for byte in (0, 400, 767):
        damaged = bytearray(content)
        damaged[start + byte] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged, the checksum of"):
            read_embedding(path)


def test_a_file_cut_short_anywhere_is_no_embedding(tmp_path):
    path = tmp_path / "x.pt"
    save_embedding(torch.randn(192), path)
    content = path.read_bytes()
    read_embedding(path)
    for length in range(0, len(content) - 22, 97):
        path.write_bytes(content[:length])
        with pytest.raises((RuntimeError, EOFError)):
            read_embedding(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (torch.zeros(192, dtype=torch.float64), "torch.float64"),
        (torch.zeros(1, 192), r"\(1, 192\)"),
        # The same number of bytes as a vector of 192.
        (torch.zeros(192, dtype=torch.int32), "torch.int32"),
        (torch.zeros(384)[::2], None),
        ({"a": 1}, "holds no tensor"),
    ],
)
def test_what_is_no_embedding_and_what_is_one_in_another_form(tmp_path, content, complaint):
    save_embedding(torch.zeros(192), tmp_path / "good.pt")
    read_embedding(tmp_path / "good.pt")
    torch.save(content, tmp_path / "x.pt")
    if complaint is None:
        assert np.array_equal(read_embedding(tmp_path / "x.pt"), content.numpy())
    else:
        with pytest.raises(ValueError, match=complaint):
            read_embedding(tmp_path / "x.pt")


def test_older_forms_are_left_to_torch(tmp_path):
    vector = torch.randn(192)
    old = io.BytesIO()
    torch.save(vector, old, _use_new_zipfile_serialization=False)
    (tmp_path / "x.pt").write_bytes(old.getvalue())
    assert np.array_equal(read_embedding(tmp_path / "x.pt"), vector.numpy())
