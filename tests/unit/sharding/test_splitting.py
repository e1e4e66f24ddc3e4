import json

import pytest

from xvectors.config.layout import Layout, shard_names
from xvectors.manifest.reading import read_manifest
from xvectors.sharding.index_shards import read_index_shard
from xvectors.sharding.splitting import split_manifest


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
