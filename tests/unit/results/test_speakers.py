import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from xvectors.errors import ShardError
from xvectors.results.speakers import average_speakers, read_speakers
from xvectors.results.tables import EmbeddedRow, write_embedded

VECTORS = {"a1": [3.0, 4.0], "b1": [0.0, 2.0], "a2": [0.0, 10.0], "a3": [0.0, 0.0]}


@pytest.fixture
def index(tmp_path):
    rows = []
    for utt_id, vector in VECTORS.items():
        torch.save(torch.tensor(vector), tmp_path / f"{utt_id}.pt")
        rows.append(EmbeddedRow(utt_id, f"{utt_id[0]} ä", str(tmp_path / f"{utt_id}.pt"), 1.5))
    write_embedded(tmp_path / "train.tsv", rows)
    return tmp_path / "train.tsv"


@pytest.mark.parametrize(
    ("length_normalize", "mean_of_a"), [(False, [1.0, 14 / 3]), (True, [0.2, 0.6])]
)
def test_means_and_counts(index, tmp_path, length_normalize, mean_of_a):
    path = tmp_path / "train.speakers.safetensors"
    average_speakers(index, path, length_normalize, {"provenance": "x"})
    means = load_file(path)
    assert set(means) == {"a ä", "b ä"}
    assert means["a ä"].dtype == np.float32
    assert np.allclose(means["a ä"], mean_of_a)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["provenance"] == "x"
    assert json.loads(metadata["counts"]) == {"a ä": 3, "b ä": 1}
    speakers = read_speakers(path)
    assert speakers.speaker_ids == ["a ä", "b ä"]
    assert np.array_equal(speakers.means, [means["a ä"], means["b ä"]])


def test_a_split_without_embeddings(tmp_path):
    write_embedded(tmp_path / "train.tsv", [])
    average_speakers(tmp_path / "train.tsv", tmp_path / "s.safetensors", False, {})
    speakers = read_speakers(tmp_path / "s.safetensors")
    assert speakers.speaker_ids == []
    assert speakers.means.shape == (0, 0)


def test_a_missing_embedding(index, tmp_path):
    (tmp_path / "a2.pt").unlink()
    with pytest.raises(ShardError, match=r"a2\.pt: not an embedding .*Rerun the same command"):
        average_speakers(index, tmp_path / "s.safetensors", False, {})
    assert not list(tmp_path.glob("*.safetensors"))
    assert not list(tmp_path.glob(".*.tmp"))


def test_embeddings_of_two_lengths(index, tmp_path):
    torch.save(torch.zeros(3), tmp_path / "a2.pt")
    with pytest.raises(ShardError, match=r"a2\.pt: holds 3 numbers, .*a1\.pt 2"):
        average_speakers(index, tmp_path / "s.safetensors", False, {})


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\2\0\0\0\0\0\0\0{}"])
def test_damaged_means_are_named(tmp_path, content):
    path = tmp_path / "train.speakers.safetensors"
    path.write_bytes(content)
    with pytest.raises(ShardError, match=r"train\.speakers\.safetensors: missing or damaged"):
        read_speakers(path)
