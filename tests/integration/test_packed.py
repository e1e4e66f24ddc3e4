"""Embeddings that are packed, a safetensors file per shard."""

import os

import pandas
import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.integration


def packed_vectors(checkout) -> dict[str, torch.Tensor]:
    """Return every embedding of the packs that are there."""
    vectors: dict[str, torch.Tensor] = {}
    for path in checkout.embeddings.glob("*.safetensors"):
        found = load_file(path)
        assert not found.keys() & vectors.keys()
        vectors |= found
    return vectors


def names(checkout) -> set[str]:
    return {path.name for path in checkout.embeddings.iterdir()}


def test_packs_are_resumed_checked_mended_and_listed_like_files(checkout, reference):
    checkout.xvector.update(storage="packed", speaker_means=True, exports=["parquet"], report=True)
    good = checkout.audio("clara_02").read_bytes()
    checkout.audio("clara_02").write_bytes(b"rubbish")
    result = checkout.run()
    assert result.returncode != 0
    assert "Traceback" not in result.stdout
    assert "train: 7 embedded, 0 already embedded, 1 failed" in result.stdout
    # The shard of the bad recording keeps its other embeddings for the next run.
    assert len(packed_vectors(checkout)) == 4
    assert sum(name.endswith(".journal") for name in names(checkout)) == 1

    checkout.audio("clara_02").write_bytes(good)
    assert "train: 1 embedded, 7 already embedded, 0 failed" in checkout.run_well()
    assert names(checkout) == {"0-of-2.safetensors", "1-of-2.safetensors"}
    vectors = packed_vectors(checkout)
    assert len(vectors) == 8
    for utt_id, vector in vectors.items():
        reference.assert_same(vector, checkout.audio(utt_id))
    for utt_id, _, path, _ in checkout.rows("train.tsv")[1:]:
        assert torch.equal(load_file(checkout.out / path)[utt_id], vectors[utt_id])
    table = pandas.read_parquet(checkout.out / "train.parquet")
    assert [tuple(row) for row in table.embedding] == [
        tuple(vectors[utt_id].tolist()) for utt_id in table.utt_id
    ]
    assert "Nothing to be done" in checkout.run_well()

    # A bit flips, and nothing else tells of it.
    pack = checkout.embeddings / "1-of-2.safetensors"
    time = pack.stat().st_mtime_ns
    content = bytearray(pack.read_bytes())
    content[-1] ^= 1
    pack.write_bytes(content)
    os.utime(pack, ns=(time, time))
    result = checkout.run("--forcerun", "collect_split")
    assert result.returncode != 0
    assert "rerun the same command to make these embeddings again" in result.stdout
    assert "train: 1 embedded, 7 already embedded, 0 failed" in checkout.run_well()
    for utt_id, vector in packed_vectors(checkout).items():
        reference.assert_same(vector, checkout.audio(utt_id))

    # Another number of shards takes over what is there.
    checkout.xvector["n_shards"] = 3
    assert "train: 0 embedded, 8 already embedded, 0 failed" in checkout.run_well()
    assert names(checkout) == {f"{k}-of-3.safetensors" for k in range(3)}
    assert packed_vectors(checkout).keys() == vectors.keys()

    # A file each, again.
    checkout.xvector["storage"] = "files"
    checkout.run_well()
    assert len(checkout.vectors()) == 8
    for utt_id, vector in checkout.vectors().items():
        reference.assert_same(vector, checkout.audio(utt_id))
    assert all(row[2].endswith(".pt") for row in checkout.rows("train.tsv")[1:])
