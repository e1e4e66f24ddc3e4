import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from xvectors.audio.signal import Segment
from xvectors.audio.versions import AudioVersion
from xvectors.config.resolving import resolve_config
from xvectors.encoders.identity import collect_numerics
from xvectors.storage.provenance import EmbeddingSource, is_same_but_audio
from xvectors.storage.pt_file import discard, read_provenance, save_embedding, stamp

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


AUDIO = AudioVersion(1, 2)
ORIGIN = EmbeddingSource({"precision": "fp32"}, "abc", ["ä b.wav"], [None])


@pytest.mark.parametrize(
    ("origin", "audio"),
    [
        (replace(ORIGIN, fingerprint="other"), AUDIO),
        (replace(ORIGIN, fingerprint=None), AUDIO),
        (replace(ORIGIN, wav_paths=["other.wav"]), AUDIO),
        (replace(ORIGIN, segments=[Segment(0, 1)]), AUDIO),
        (replace(ORIGIN, numerics={"precision": "bf16"}), AUDIO),
        (ORIGIN, AudioVersion(1, 3)),
        (ORIGIN, AudioVersion(2, 2)),
        (ORIGIN, None),
    ],
)
def test_whatever_changes_a_vector_changes_its_provenance(origin, audio):
    assert origin.provenance(0, audio) != ORIGIN.provenance(0, AUDIO)


def test_provenance_is_readable():
    provenance = json.loads(ORIGIN.provenance(0, AUDIO))
    assert provenance == {
        "encoder": "abc",
        "precision": "fp32",
        "wav_path": "ä b.wav",
        "size": 1,
        "mtime_ns": 2,
    }


def test_what_differs_in_the_audio_only():
    provenance = ORIGIN.provenance(0, AUDIO)
    assert is_same_but_audio(ORIGIN.provenance(0, None), provenance)
    assert not is_same_but_audio(replace(ORIGIN, fingerprint="x").provenance(0, AUDIO), provenance)
    assert not is_same_but_audio(None, provenance)
    assert not is_same_but_audio(b"another's comment", provenance)


def test_the_recipe_holds_what_changes_vectors_and_nothing_else():
    base = {"pretrained_model": "a/b"}
    numerics = collect_numerics(resolve_config({"xvector": base}))
    for same in ({"batch_size": None}, {"n_shards": 3}, {"device": "cpu"}, {"on_error": "skip"}):
        assert collect_numerics(resolve_config({"xvector": base | same})) == numerics
    for other in ({"precision": "bf16"}, {"toolkit": "espnet"}, {"runner": "mine.Runner"}):
        assert collect_numerics(resolve_config({"xvector": base | other})) != numerics
    assert numerics["toolkit_version"]
    assert OmegaConf.create(numerics)  # plain values, as Snakemake's params need
