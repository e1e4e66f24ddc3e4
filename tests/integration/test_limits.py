"""Limits of durations, from the command line to the tables."""

import pytest

from tests.support.checkout import changed

pytestmark = pytest.mark.integration


def names(rows: list[list[str]]) -> list[str]:
    return [row[0] for row in rows[1:]]


def test_limits_exclude_and_include_without_embedding_twice(quick_done):
    done = quick_done
    rows = done.rows("train.tsv")
    by_length = sorted((float(row[3]), row[0]) for row in rows[1:])
    shortest, longest = by_length[0][1], by_length[-1][1]
    everyone, before = names(rows), done.times()

    # Between the two shortest, and below the longest.
    low, high = (by_length[0][0] + by_length[1][0]) / 2, by_length[-1][0] - 0.01
    done.xvector.update(min_seconds=low, max_seconds=high)
    dry = done.run_well("-n")
    assert "split_manifest" in dry
    output = done.run_well()
    assert "train: 0 embedded, 6 already embedded, 0 failed" in output
    assert ", 2 excluded" in output
    assert sorted(names(done.rows("train.excluded.tsv"))) == sorted([shortest, longest])
    assert names(done.rows("train.tsv")) == [
        name for name in everyone if name not in (shortest, longest)
    ]
    assert changed(before, done.times()) == set()
    assert "Nothing to be done" in done.run_well()

    # One of them is embedded again only because its embedding is gone.
    (done.embeddings / f"{shortest}.pt").unlink()
    assert "Nothing to be done" in done.run_well()
    done.xvector["min_seconds"] = None
    assert "train: 1 embedded, 6 already embedded, 0 failed" in done.run_well()
    assert changed(before, done.times()) == {shortest}
    assert names(done.rows("train.excluded.tsv")) == [longest]
    assert shortest in names(done.rows("train.tsv"))

    done.xvector["max_seconds"] = None
    assert "train: 0 embedded, 8 already embedded, 0 failed" in done.run_well()
    assert names(done.rows("train.tsv")) == everyone
    assert not (done.out / "train.excluded.tsv").exists()


def test_all_utterances_may_be_excluded(quick):
    quick.xvector.update(min_seconds=1000, n_shards="auto")
    output = quick.run_well()
    assert "train: 8 of 8 utterances are excluded: " in output
    assert len(quick.rows("train.tsv")) == 1
    assert len(quick.rows("train.excluded.tsv")) == 9
    assert "Nothing to be done" in quick.run_well()


def test_limits_that_exclude_everything_possible_are_refused(quick):
    quick.xvector.update(min_seconds=3, max_seconds=2)
    assert quick.run_badly() == [
        f"error: {quick.root}/my.yaml: xvector.max_seconds: must be above min_seconds, 3, not 2"
    ]
