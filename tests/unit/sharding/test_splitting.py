import json

import pytest

from xvectors.config.layout import Layout, shard_names
from xvectors.manifest.reading import read_manifest
from xvectors.sharding import splitting
from xvectors.sharding.index_shards import read_index_shard, read_plan
from xvectors.sharding.limits import NO_LIMITS, Limits
from xvectors.sharding.splitting import (
    EarlierShards,
    TooManyHeadersError,
    divide,
    has_new_durations,
    split_manifest,
)


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


def test_durations_of_unchanged_recordings_are_not_read_again(corpus, layout, monkeypatch):
    manifest = read_manifest(corpus / "train.tsv")
    split_manifest(manifest, "train", 2, layout)
    before = read_plan(layout.plan("train"))
    monkeypatch.setattr(splitting, "durations", lambda paths: pytest.fail(f"read {paths}"))
    split_manifest(manifest, "train", 3, layout)
    assert read_plan(layout.plan("train")).audio_seconds == before.audio_seconds


def test_a_duration_that_could_not_be_read_is_asked_for_again(corpus, layout, monkeypatch):
    manifest = read_manifest(corpus / "train.tsv")
    monkeypatch.setattr(splitting, "durations", lambda paths: [0.0] * len(paths))
    split_manifest(manifest, "train", 1, layout)
    shard = read_index_shard(layout.index_shard("train", "0-of-1"))
    assert not has_new_durations(manifest.path, shard)
    monkeypatch.undo()
    assert has_new_durations(manifest.path, shard)
    split_manifest(manifest, "train", 1, layout)
    assert min(read_index_shard(layout.index_shard("train", "0-of-1")).seconds) > 1


def test_seconds_that_the_manifest_no_longer_states_are_read(corpus, layout):
    path = corpus / "train.tsv"
    text = path.read_text()
    path.write_text("".join(f"{line}\tseconds=7.5\n" for line in text.splitlines()))
    split_manifest(read_manifest(path), "train", 1, layout)
    path.write_text(text)
    split_manifest(read_manifest(path), "train", 1, layout)
    assert max(read_index_shard(layout.index_shard("train", "0-of-1")).seconds) < 5


def test_the_hours_of_audio_decide_where_no_number_is_given(corpus, layout):
    path = corpus / "train.tsv"
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line}\tseconds=600\n" for line in lines))
    split_manifest(read_manifest(path), "train", None, layout)
    assert read_plan(layout.plan("train")).n_shards == 3


def test_dividing_stops_before_too_many_headers(corpus, layout):
    manifest = read_manifest(corpus / "train.tsv")
    earlier = EarlierShards(manifest.path, corpus / "none")
    with pytest.raises(TooManyHeadersError):
        divide(manifest, None, earlier, max_headers=5)
    assert divide(manifest, None, earlier, max_headers=6).plan.n_shards == 1


def excluded(layout: Layout) -> dict[str, float]:
    shard = read_index_shard(layout.excluded_shard("train"))
    return dict(zip(shard.utt_ids, shard.seconds, strict=True))


def test_utterances_beyond_the_limits_are_in_no_shard(corpus, layout):
    manifest = read_manifest(corpus / "train.tsv")
    split_manifest(manifest, "train", 2, layout)
    everyone = {name for shard in shard_contents(layout, 2) for name in shard}
    seconds = read_index_shard(layout.index_shard("train", "0-of-2")).seconds
    limits = Limits(max_seconds=min(seconds))
    split_manifest(manifest, "train", 2, layout, limits)
    left = [name for shard in shard_contents(layout, 2) for name in shard]
    assert everyone == {*left, *excluded(layout)}
    assert 0 < len(left) < 6
    assert min(excluded(layout).values()) > limits.max_seconds
    plan = read_plan(layout.plan("train"))
    assert (plan.n_utterances, plan.n_excluded) == (len(left), 6 - len(left))
    assert (plan.min_seconds, plan.max_seconds) == limits

    split_manifest(manifest, "train", 2, layout)
    assert not layout.excluded_shard("train").exists()
    assert {name for shard in shard_contents(layout, 2) for name in shard} == everyone


def test_only_what_is_included_counts_for_the_number_of_shards(corpus, layout):
    lines = (corpus / "train.tsv").read_text().splitlines()
    lines[0] += "\tstart=0\tend=4000"
    (corpus / "train.tsv").write_text("".join(f"{line}\n" for line in lines))
    manifest = read_manifest(corpus / "train.tsv")
    split_manifest(manifest, "train", None, layout)
    assert read_plan(layout.plan("train")).n_shards > 1
    split_manifest(manifest, "train", None, layout, Limits(max_seconds=3000))
    assert read_plan(layout.plan("train")).n_shards == 1
    assert excluded(layout) == {"alba_00": 4000.0}


@pytest.mark.parametrize("n_utterances", [1, 3])
def test_no_more_shards_than_utterances_are_chosen(tmp_path, n_utterances):
    path = tmp_path / "train.tsv"
    # A duration in samples, say.
    lines = [f"utt{i}\tnone.wav\t\ts\tseconds=90000000\n" for i in range(n_utterances)]
    path.write_text("".join(lines))
    split_manifest(read_manifest(path), "train", None, Layout(tmp_path))
    plan = read_plan(Layout(tmp_path).plan("train"))
    assert plan.n_shards == n_utterances


@pytest.mark.parametrize(("stated", "limits"), [(0.1, Limits(0.5)), (500, Limits(None, 100))])
def test_a_wrong_duration_excludes_no_utterance(corpus, layout, stated, limits):
    lines = (corpus / "train.tsv").read_text().splitlines()
    (corpus / "train.tsv").write_text("".join(f"{line}\tseconds={stated}\n" for line in lines))
    split_manifest(read_manifest(corpus / "train.tsv"), "train", 1, layout, limits)
    shard = read_index_shard(layout.index_shard("train", "0-of-1"))
    assert excluded(layout) == {}
    assert all(1 < seconds < 5 for seconds in shard.seconds)


def test_what_cannot_be_read_is_not_too_short(corpus, layout):
    for path in corpus.glob("a*.*"):
        path.write_bytes(b"rubbish")
    split_manifest(read_manifest(corpus / "train.tsv"), "train", 1, layout, Limits(100))
    assert shard_contents(layout, 1) == [["alba_00"]]
    assert len(excluded(layout)) == 5


def test_measured_durations_are_not_measured_again(corpus, layout, monkeypatch):
    manifest = read_manifest(corpus / "train.tsv")
    split_manifest(manifest, "train", 1, layout, Limits(100))
    before = excluded(layout)
    assert len(before) == 6
    for name in ("durations", "measure"):
        monkeypatch.setattr(splitting, name, lambda paths: pytest.fail(f"read {paths}"))
    split_manifest(manifest, "train", 1, layout, Limits(50))
    assert excluded(layout) == before
    split_manifest(manifest, "train", 1, layout, NO_LIMITS)
    assert sorted(read_index_shard(layout.index_shard("train", "0-of-1")).seconds) == sorted(
        before.values()
    )


def test_few_recordings_are_measured_where_a_run_only_looks(corpus, monkeypatch):
    manifest = read_manifest(corpus / "train.tsv")
    earlier = EarlierShards(manifest.path, corpus / "none")
    monkeypatch.setattr(splitting, "MAX_MEASURED", 5)
    with pytest.raises(TooManyHeadersError, match="6 durations to measure"):
        divide(manifest, 1, earlier, Limits(100), max_headers=6)


def test_the_log_tells_of_excluded_utterances(corpus, layout, caplog):
    caplog.set_level("INFO")
    manifest = read_manifest(corpus / "train.tsv")
    split_manifest(manifest, "train", 1, layout, Limits(100))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.message == (
        "train: 6 of 6 utterances are excluded: their duration is not within min_seconds: 100 and "
        "max_seconds: null"
    )
