import numpy as np
import pytest
import torch

from tests.support.made_split import (
    SHARDS,
    make_marker,
    make_rows,
    make_split,
    make_voices,
    write_labels,
)
from xvectors.config.layout import Layout
from xvectors.errors import ShardError
from xvectors.report import split_report
from xvectors.report.split_report import first_rows, gather, speeds, view_speakers
from xvectors.results.tables import FailureRow
from xvectors.sharding.markers import read_marker, write_last_work, write_marker


def test_speeds_are_of_shards_that_embedded_something():
    fast, idle = make_marker(), make_marker(n_written=0, n_skipped=10, audio_seconds=0.0)
    (speed,) = speeds([("0-of-2", fast), ("1-of-2", idle)])
    assert speed.shard == "0-of-2"
    assert (speed.utterances_per_second, speed.times_real_time) == (5, 20)
    assert speeds([("0-of-1", make_marker(wall_seconds=0.0))]) == []


def test_a_swapped_label_is_the_first_doubt_and_its_speakers_are_loose():
    speakers, embeddings = make_voices(4, 10, spread=0.2)
    # An utterance of voice003 is filed under voice001.
    embeddings[15] = embeddings[35]
    view = view_speakers(make_rows(speakers), embeddings, with_tsne=False)
    doubt, second = view.doubts(2)
    assert (doubt.utt_id, doubt.speaker_id, doubt.nearest_speaker) == (
        "utt00015",
        "voice001",
        "voice003",
    )
    assert doubt.own < 0.5
    assert doubt.nearest > 0.9
    assert doubt.margin < 0 < second.margin
    assert view.n_nearer_other == 1
    loose = view.loose_speakers(10)
    assert (loose[0].speaker_id, loose[0].utt_id, loose[0].n_utterances) == (
        "voice001",
        "utt00015",
        10,
    )
    assert [one.coherence for one in loose] == sorted(one.coherence for one in loose)
    assert view.neighbours is None
    assert view.similarity is not None
    assert view.similarity.n_same == 4 * 45
    assert view.similarity.n_different == 6 * 100


def test_gathered_from_files(tmp_path):
    speakers, embeddings = make_voices(3, 4)
    n_failures = split_report.MAX_ROWS_SHOWN + 10
    failures = [FailureRow(f"bad{i}", "bad.wav", "no audio") for i in range(n_failures)]
    config = make_split(tmp_path, speakers, embeddings, failures, report_tsne=True)
    report = gather(config, "train", SHARDS)
    assert (report.tag, report.split, report.n_shards) == ("tag", "train", 2)
    assert report.totals.n_utterances == {"voice000": 4, "voice001": 4, "voice002": 4}
    assert report.durations.counts.sum() == 12
    assert (report.durations.edges[0], report.durations.edges[-1]) == (1, 12)
    assert report.failures == failures[: split_report.MAX_ROWS_SHOWN]
    assert report.n_failures == n_failures
    assert report.n_suspects is None
    assert report.median_times_real_time == 20
    layout = Layout.of(config)
    for shard in SHARDS:
        write_last_work(layout.last_work("train", shard), make_marker(wall_seconds=4.0))
        write_marker(layout.marker("train", shard), make_marker(n_written=0))
    later = gather(config, "train", SHARDS)
    assert later.median_times_real_time == 10
    assert report.view is not None
    assert report.view.dim == 32
    assert report.view.neighbours is not None
    assert report.view.neighbours.shape == (12, 2)


def test_each_done_marker_is_read_once(tmp_path, monkeypatch):
    config = make_split(tmp_path, *make_voices(2, 2))
    read = []
    monkeypatch.setattr(
        split_report, "read_marker", lambda path: read.append(path.stem) or read_marker(path)
    )
    gather(config, "train", SHARDS)
    assert read == SHARDS


def test_the_density_is_of_random_utterances_where_there_are_many(tmp_path, monkeypatch):
    config = make_split(tmp_path, *make_voices(10, 3), report_utterances=12)
    assert gather(config, "train", SHARDS).density is None
    monkeypatch.setattr(split_report, "MANY_UTTERANCES", 20)
    found = gather(config, "train", SHARDS)
    assert found.density is not None
    assert found.density.counts.sum() == 20


@pytest.mark.parametrize(("limit", "rows"), [(0, []), (2, [0, 1]), (9, [0, 1, 2, 3])])
def test_all_rows_of_a_table_are_counted_but_few_are_kept(limit, rows):
    assert first_rows(iter(range(4)), limit) == (rows, 4)


def test_suspects_with_the_smallest_margins_come_first(tmp_path):
    config = make_split(tmp_path, *make_voices(2, 3), labels=True)
    n_suspects = split_report.MAX_ROWS_SHOWN + 5
    write_labels(Layout.of(config).labels("train"), n_suspects)
    report = gather(config, "train", SHARDS)
    assert report.n_suspects == n_suspects
    assert len(report.suspects) == split_report.MAX_ROWS_SHOWN
    assert len(report.doubts) == 6
    assert report.recordings.keys() == {row.utt_id for row in make_rows(["a"] * 6)}
    assert report.suspects[0] == ("utt00104", "voice000", "voice001", -1.0, 0.104, -1.104)


def test_no_embedding_outside_the_sample_is_read(tmp_path):
    speakers, embeddings = make_voices(10, 30)
    config = make_split(tmp_path, speakers, embeddings, report_utterances=60)
    full = gather(config, "train", SHARDS)
    assert full.view is not None
    wanted = {row.path for row in full.view.rows}
    assert len(wanted) == 60
    for path in Layout.of(config).embeddings("train").iterdir():
        if str(path) not in wanted:
            path.unlink()
    again = gather(config, "train", SHARDS)
    assert again.view is not None
    assert again.view.rows == full.view.rows
    assert again.view.similarity.equal_error == full.view.similarity.equal_error


def test_files_that_are_no_embeddings_are_left_alone(tmp_path):
    speakers, embeddings = make_voices(2, 3)
    config = make_split(tmp_path, speakers, embeddings, runner="xvectors.BaseRunner")
    for path in Layout.of(config).embeddings("train").iterdir():
        path.write_text("something else")
    report = gather(config, "train", SHARDS)
    assert report.view is None
    assert report.durations.counts.sum() == 6


def test_embeddings_of_two_lengths_are_named(tmp_path):
    config = make_split(tmp_path, *make_voices(2, 3))
    torch.save(torch.zeros(5), Layout.of(config).embeddings("train") / "utt00003.pt")
    with pytest.raises(ShardError, match=r"utt00003\.pt: holds 5 numbers, .*utt00000\.pt 32\. Em"):
        gather(config, "train", SHARDS)


def test_a_damaged_embedding_is_named(tmp_path):
    speakers, embeddings = make_voices(2, 3)
    config = make_split(tmp_path, speakers, embeddings)
    path = Layout.of(config).embeddings("train") / "utt00003.pt"
    path.write_bytes(b"")
    with pytest.raises(ShardError, match=r"utt00003\.pt: not an embedding"):
        gather(config, "train", SHARDS)


@pytest.mark.parametrize(
    "speakers",
    [["a"], ["a", "a"], ["a", "b"], ["a", "a", "b"], ["a"] * 6, list("abcdefg")],
)
def test_few_utterances(speakers: list[str]):
    for embeddings in (make_voices(len(speakers), 1)[1], np.ones((len(speakers), 32))):
        rows = make_rows(speakers)
        view = view_speakers(rows, embeddings.astype(np.float32), with_tsne=True)
        assert (view.similarity is None) == (len(speakers) == 1)
        assert np.isfinite(view.projection.points).all()
        n_known = 0 if len(set(speakers)) == 1 else sum(speakers.count(s) > 1 for s in speakers)
        assert len(view.doubts(20)) == n_known
        assert len(view.loose_speakers(20)) == sum(speakers.count(s) > 1 for s in set(speakers))


def test_pictures_show_some_of_a_large_sample(monkeypatch):
    monkeypatch.setattr(split_report, "MAX_POINTS", 7)
    speakers, embeddings = make_voices(5, 4)
    view = view_speakers(make_rows(speakers), embeddings, with_tsne=True)
    assert view.drawn.tolist() == [0, 3, 6, 10, 13, 16, 19]
    assert view.neighbours is not None
    assert view.neighbours.shape == (7, 2)
    assert len(view.fit.own) == 20
