import json

import numpy as np
import pytest

from xvectors.config.layout import Layout, shard_names
from xvectors.errors import ShardError
from xvectors.files.checksummed_json import dump_checksummed
from xvectors.manifest.reading import read_manifest
from xvectors.sharding.assignment import assign_shards, utterance_key
from xvectors.sharding.index_shards import read_index_shard
from xvectors.sharding.splitting import split_manifest


def lengths(n_utterances: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    keys = [utterance_key(f"utt{i}") for i in range(n_utterances)]
    return np.array(keys), generator.lognormal(1.6, 0.6, n_utterances)


def loads(seconds: np.ndarray, shards: np.ndarray, n_shards: int) -> np.ndarray:
    return np.bincount(shards, seconds, n_shards)


def by_shard(keys: np.ndarray, shards: np.ndarray, n_shards: int) -> dict[int, np.ndarray]:
    return {shard: keys[shards == shard] for shard in range(n_shards)}


@pytest.mark.parametrize(("n_utterances", "n_shards"), [(60, 5), (1000, 8), (5000, 100)])
def test_shards_are_balanced_by_duration(n_utterances, n_shards):
    keys, seconds = lengths(n_utterances)
    totals = loads(seconds, assign_shards(keys, seconds, n_shards), n_shards)
    assert max(totals) <= 1.05 * sum(totals) / n_shards


def test_the_order_of_the_manifest_does_not_matter():
    keys, seconds = lengths(50)
    backward = assign_shards(keys[::-1], seconds[::-1], 4)
    assert backward[::-1].tolist() == assign_shards(keys, seconds, 4).tolist()


def test_a_new_utterance_moves_no_other():
    keys, seconds = lengths(60)
    shards = assign_shards(keys, seconds, 5)
    new = utterance_key("new")
    earlier = by_shard(keys, shards, 5)
    later = assign_shards(np.append(new, keys), np.append(3.0, seconds), 5, earlier)
    assert later[1:].tolist() == shards.tolist()


def test_balance_comes_before_staying():
    keys, seconds = lengths(100)
    totals = loads(seconds, assign_shards(keys, seconds, 4, {0: keys}), 4)
    assert max(totals) <= 1.1 * sum(totals) / 4 + 2 * max(seconds)


def test_more_shards_than_utterances_leave_some_empty():
    keys, seconds = lengths(2)
    assert sorted(assign_shards(keys, seconds, 4)) == [0, 1]


def test_names_are_padded_to_the_width_of_the_number():
    assert shard_names(11)[0] == "00-of-11"
    assert shard_names(9)[8] == "8-of-9"


@pytest.fixture
def layout(tmp_path) -> Layout:
    return Layout(tmp_path / "out")


def shard_contents(layout: Layout, n_shards: int) -> list[list[str]]:
    paths = [layout.index_shard("train", name) for name in shard_names(n_shards)]
    return [read_index_shard(path).utt_ids for path in paths]


def test_split_covers_every_position_once_and_knows_durations(corpus, layout):
    manifest = read_manifest(corpus / "train.tsv")
    split_manifest(manifest, "train", 2, layout)
    shards = [read_index_shard(layout.index_shard("train", name)) for name in shard_names(2)]
    positions = sorted(position for shard in shards for position in shard.positions)
    assert positions == list(range(6))
    assert all(1 < duration < 5 for shard in shards for duration in shard.seconds)
    assert json.loads(layout.plan("train").read_bytes())["n_utterances"] == 6


def test_the_manifests_seconds_are_taken_when_given(corpus, layout):
    lines = (corpus / "train.tsv").read_text().splitlines()
    (corpus / "train.tsv").write_text("".join(f"{line}\tseconds=7.5\n" for line in lines))
    split_manifest(read_manifest(corpus / "train.tsv"), "train", 1, layout)
    assert read_index_shard(layout.index_shard("train", "0-of-1")).seconds == [7.5] * 6


def test_an_added_line_writes_one_shard_anew(corpus, layout):
    split_manifest(read_manifest(corpus / "train.tsv"), "train", 3, layout)
    paths = [layout.index_shard("train", name) for name in shard_names(3)]
    before = [path.stat().st_mtime_ns for path in paths]
    with (corpus / "train.tsv").open("a") as file:
        file.write("late\talba_00.flac\twords\talba\n")
    split_manifest(read_manifest(corpus / "train.tsv"), "train", 3, layout)
    changed = [path.stat().st_mtime_ns != time for path, time in zip(paths, before, strict=True)]
    assert sum(changed) == 1


def test_another_number_of_shards_removes_the_earlier_ones(corpus, layout):
    manifest = read_manifest(corpus / "train.tsv")
    split_manifest(manifest, "train", 3, layout)
    layout.marker("train", "0-of-3").write_text("{}")
    split_manifest(manifest, "train", 2, layout)
    left = {path.name for path in layout.marker("train", "0-of-2").parent.iterdir()}
    assert left == {"0-of-2.json", "1-of-2.json"}
    assert sum(map(len, shard_contents(layout, 2))) == 6


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"positions": [1]}', dump_checksummed({"a": 1}).decode()]
)
def test_a_damaged_index_shard_is_one_line(tmp_path, content):
    path = tmp_path / "0-of-1.json"
    path.write_text(content)
    with pytest.raises(ShardError, match="no index shard"):
        read_index_shard(path)
