import struct

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from xvectors.errors import ExportError
from xvectors.storage import safetensors_file
from xvectors.storage.safetensors_file import read_header, write_vectors

NAMES = ['a "b"', "ü", "c"]
VECTORS = np.arange(15, dtype=np.float32).reshape(3, 5)


def test_the_library_reads_what_is_written(tmp_path):
    path = tmp_path / "a.safetensors"
    write_vectors(path, NAMES, VECTORS, 5, {"more": '"quoted" ü'})
    found = load_file(path)
    assert found.keys() == set(NAMES)
    assert all(
        np.array_equal(found[name], vector) for name, vector in zip(NAMES, VECTORS, strict=True)
    )
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"more": '"quoted" ü'}


def test_the_header_is_read_back_in_its_order(tmp_path):
    path = tmp_path / "a.safetensors"
    write_vectors(path, NAMES, VECTORS, 5, {})
    header, begin = read_header(path)
    assert list(header) == ["__metadata__", *NAMES]
    for name, vector in zip(NAMES, VECTORS, strict=True):
        first, last = header[name]["data_offsets"]
        assert path.read_bytes()[begin + first : begin + last] == vector.tobytes()
    assert begin % 8 == 0


@pytest.mark.parametrize(
    "content", [b"", b"short", struct.pack("<Q", 10**12), struct.pack("<Q", 2) + b"[]"]
)
def test_what_has_no_header(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match="header"):
        read_header(tmp_path / "a")


@pytest.mark.parametrize("n_vectors", [2, 4])
def test_as_many_vectors_as_names_or_no_file(tmp_path, n_vectors):
    vectors = [VECTORS[0]] * n_vectors
    with pytest.raises(ValueError, match="zip"):
        write_vectors(tmp_path / "a.safetensors", NAMES, vectors, 5, {})
    assert list(tmp_path.iterdir()) == []


def test_names_that_do_not_go_into_the_format(tmp_path, monkeypatch):
    with pytest.raises(ExportError, match="__metadata__ is not a valid"):
        write_vectors(tmp_path / "a", ["__metadata__"], VECTORS[:1], 5, {})
    monkeypatch.setattr(safetensors_file, "MAX_HEADER_BYTES", 150)
    with pytest.raises(ExportError, match="no more than 2 of the names fit"):
        write_vectors(tmp_path / "a", NAMES, VECTORS, 5, {})
    assert list(tmp_path.iterdir()) == []
