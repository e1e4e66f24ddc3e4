import os
import shutil
import time

import pytest

from tests.support.shards import Shards
from xvectors.config.resolving import resolve_config
from xvectors.run.stale_records import Records, number_of_shards, redate_future_files


@pytest.fixture
def shards(corpus, demo_encoder) -> Shards:
    """A split of two shards whose jobs have run."""
    shards = Shards(corpus, demo_encoder, n_shards=2)
    shards.embed_all()
    return shards


def records(shards: Shards) -> Records:
    return Records(resolve_config({"xvector": shards.settings}))


def stale_of_split(shards: Shards) -> set[str]:
    return {path.name for path in records(shards).split("train").stale}


def test_what_is_true_is_not_stale(shards):
    found = records(shards)
    assert found.stale_encoder == frozenset()
    assert found.split("train").n_shards == 2
    assert stale_of_split(shards) == set()
    assert number_of_shards(resolve_config({"xvector": shards.settings}), "train") == 2


def test_a_lost_embedding_makes_its_marker_stale_and_nothing_is_removed(shards):
    (shards.layout.embeddings("train") / "alba_00.pt").unlink()
    before = sorted(shards.layout.root.rglob("*"))
    (stale,) = stale_of_split(shards)
    assert stale in {"0-of-2.done", "1-of-2.done"}
    assert sorted(shards.layout.root.rglob("*")) == before


def test_other_settings_make_all_markers_stale(shards):
    shards.settings["precision"] = "tf32"
    assert stale_of_split(shards) == {"0-of-2.done", "1-of-2.done"}


def test_another_line_makes_the_plan_stale_and_the_markers_that_it_touches(shards):
    with shards.manifest.open("a") as file:
        file.write("late\talba_00.flac\t\talba\n")
    stale = stale_of_split(shards)
    assert "train.json" in stale
    assert len(stale - {"train.json"}) == 1


def test_another_encoder_makes_its_description_stale(shards, tmp_path):
    shards.settings["pretrained_model"] = str(tmp_path / "other")
    assert records(shards).stale_encoder == {shards.layout.encoder_description}


def test_shards_that_are_not_done_or_stale_are_to_run(shards):
    assert records(shards).n_shards_to_run() == 0
    found = records(shards)
    shards.layout.marker("train", "1-of-2").unlink()
    assert found.n_shards_to_run() == 1
    # It stays while jobs end one after the other.
    shards.layout.marker("train", "0-of-2").unlink()
    assert found.n_shards_to_run() == 1
    assert records(shards).n_shards_to_run() == 2


def test_how_many_run_may_be_unknown(shards, monkeypatch):
    monkeypatch.setattr("xvectors.run.stale_records.MAX_HEADERS", 2)
    shutil.rmtree(shards.layout.root)
    shards.settings["n_shards"] = "auto"
    assert records(shards).n_shards_to_run() is None


def test_stale_records_are_told_once(shards):
    (shards.layout.embeddings("train") / "alba_00.pt").unlink()
    found = records(shards)
    found.split("train")
    assert found.newly_stale() == found.stale
    assert found.newly_stale() == frozenset()
    assert [found.is_stale("train", name) for name in ("0-of-2", "1-of-2")].count(True) == 1


def test_a_split_is_looked_at_again_when_its_plan_was_written(shards):
    found = records(shards)
    assert found.split_again("train").stale == frozenset()
    (shards.layout.embeddings("train") / "alba_00.pt").unlink()
    assert found.split_again("train").stale == frozenset()
    shards.prepare()
    (stale,) = found.split_again("train").stale
    assert found.newly_stale() == {stale}


def test_records_from_the_future_get_the_present_time(shards):
    marker = shards.layout.marker("train", "0-of-2")
    embedding = shards.layout.embeddings("train") / "alba_00.pt"
    future = time.time_ns() + 3600 * 10**9
    for path in (marker, embedding):
        os.utime(path, ns=(future, future))
    redate_future_files(shards.layout, ["train"])
    assert marker.stat().st_mtime_ns < future
    # Its time is that of its version, which a marker has noted.
    assert embedding.stat().st_mtime_ns == future


def test_other_limits_make_the_plan_stale_and_the_markers_that_they_touch(shards):
    shards.settings["min_seconds"] = 0.5
    assert stale_of_split(shards) == {"train.json"}
    shards.prepare()
    assert stale_of_split(shards) == set()
    # Longer than the shortest alone.
    seconds = sorted(shards.seconds().values())
    shards.settings["min_seconds"] = seconds[1]
    stale = stale_of_split(shards)
    assert "train.json" in stale
    assert len(stale) == 2


def test_audio_of_an_excluded_utterance_that_changes_makes_the_plan_stale(shards):
    seconds = shards.seconds()
    shards.settings["min_seconds"] = sorted(seconds.values())[1]
    shards.embed_all()
    assert stale_of_split(shards) == set()
    shortest = min(seconds, key=seconds.get)
    (audio,) = shards.manifest.parent.glob(f"{shortest}.*")
    os.utime(audio, ns=(1, 1))
    assert stale_of_split(shards) == {"train.json"}
    shards.prepare()
    shards.layout.excluded_shard("train").unlink()
    assert "train.json" in stale_of_split(shards)
