import logging

import pytest

from xvectors.job import progress
from xvectors.job.progress import Progress
from xvectors.job.tally import Tally
from xvectors.sharding.index_shards import IndexShard
from xvectors.sharding.shard_progress import ShardProgress, read_progress

SECONDS = [1.0, 2.0, 3.0, 4.0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".progress" / "train" / "0-of-1.json"


def make_progress(path, missing, seconds=SECONDS):
    shard = IndexShard([], [], [], [], seconds, audio="")
    return Progress(path, "this run", missing, Tally(shard))


def test_what_is_done_before_counts_as_done(path):
    make_progress(path, [2, 3])
    found = read_progress(path)
    assert found.part == pytest.approx(0.3)
    expected = ShardProgress("this run", 2, 0, 0, part=found.part, seconds=0.0)
    assert found == expected


def test_the_file_is_replaced_now_and_then_and_at_the_end(path, monkeypatch):
    bar = make_progress(path, [0, 3])
    with bar:
        bar.tally.n_written, bar.tally.audio_seconds = 1, 4.0
        bar.count(3)
        assert read_progress(path).n_done == 2
        monkeypatch.setattr(progress, "SECONDS_BETWEEN_FILES", 0)
        bar.count(0)
        assert read_progress(path).n_done == 4
        bar.tally.failures[0] = None
    found = read_progress(path)
    assert (found.n_done, found.n_embedded, found.n_failed) == (4, 1, 1)
    assert found.part == pytest.approx(1)
    assert found.seconds == 4.0


def test_utterances_without_a_known_duration_count_the_same(path):
    make_progress(path, [1], seconds=[0.0, 0.0])
    assert read_progress(path).part == 0.5
    make_progress(path, [], seconds=[])
    assert read_progress(path).n_done == 0


def test_a_log_gets_a_line_now_and_then(path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="xvectors")
    with make_progress(path, [0, 1, 2, 3]) as bar:
        bar.count(0)
        assert caplog.messages == []
        monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
        bar.count(1)
    (line,) = caplog.messages
    assert line.startswith("2 of 4, ")
    assert "utterances/s" in line
    assert "x real time" in line


def test_speed():
    assert progress.speed(10, 60.0, 2.0) == "5.0 utterances/s, 30.0 x real time"
    assert progress.speed(0, 0.0, 0.0) == "0.0 utterances/s, 0.0 x real time"
