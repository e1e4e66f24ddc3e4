import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.made_split import make_marker
from tests.support.shards import Shards
from xvectors.config.resolving import resolve_config
from xvectors.results.tables import ExcludedRow, write_excluded
from xvectors.run.progress_line import Totals
from xvectors.run.summary import MAX_FAILURES_SHOWN, interruption, summarize
from xvectors.sharding.markers import Failure, write_marker

RUN = "this run"
SINCE = 1_000_000_000_000_000_000


@pytest.fixture
def shards(corpus, demo_encoder) -> Shards:
    """A split into two shards, of which no job has run."""
    shards = Shards(corpus, demo_encoder, n_shards=2)
    shards.prepare()
    return shards


def lines(shards: Shards) -> list[str]:
    """Return all lines but the one of the results' place."""
    lines = summarize(resolve_config({"xvector": shards.settings}), RUN, 125.4, SINCE)
    return [line for line in lines if line != end(shards)]


def end(shards: Shards) -> str:
    return f"results: {shards.layout.root}, total time 2 min 5 s"


def write_log(path: Path, *errors: str, since: int = SINCE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["2026-11-29 09:14:17,817 INFO begun"]
    lines += [f"2026-11-29 09:14:17,917 ERROR error: {error}" for error in errors]
    path.write_text("\n".join([*lines, ""]))
    os.utime(path, ns=(since, since))


def test_done_before_and_by_this_run(shards):
    layout = shards.layout
    write_marker(layout.marker("train", "0-of-2"), make_marker(n_skipped=3, run=RUN))
    write_marker(layout.marker("train", "1-of-2"), make_marker(run="earlier"))
    layout.table("train").touch()
    assert lines(shards) == [
        "train: 10 embedded, 13 already embedded, 0 failed, 0.011 hours of audio embedded"
    ]
    silent = make_marker(n_silent=3, run="earlier")
    write_marker(layout.marker("train", "1-of-2"), silent)
    assert lines(shards)[0].endswith("embedded, 3 silent")
    layout.table("train").unlink()
    write_log(layout.log("collect_split", "train"))
    (_, undone) = lines(shards)
    assert undone.startswith("train: its tables are not done, see ")


def test_the_end_names_the_page_error_rates_and_the_place_of_the_results(shards):
    layout = shards.layout
    shards.settings["trials"] = {"pairs": "pairs.txt"}
    layout.overview.touch()
    settings = resolve_config({"xvector": shards.settings})

    def tail(n_lines: int) -> list[str]:
        return list(summarize(settings, RUN, 125.4, SINCE))[-n_lines:]

    assert tail(2) == [f"page: {layout.overview}", end(shards)]
    scores = {"score": {"eer": 0.0125}, "normalized_score": {"eer": 0.01}}
    layout.error_rates("pairs").write_text(json.dumps({"trials": "pairs.txt", **scores}))
    assert tail(3) == [
        "pairs: EER 1.25% by cosine, EER 1.00% by normalized cosine",
        f"page: {layout.overview}",
        end(shards),
    ]
    unlabelled = {"trials": "pairs.txt", "score": {"mean": 0.4, "median": 0.51234}}
    layout.error_rates("pairs").write_text(json.dumps(unlabelled))
    assert tail(3)[0] == "pairs: median 0.5123 by cosine"
    os.utime(layout.error_rates("pairs"), ns=(SINCE - 1, SINCE - 1))
    assert "pairs" not in " ".join(tail(9))


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"score": {}}', b'{"score": 1}'])
def test_damaged_error_rates_are_named(shards, content):
    shards.settings["trials"] = {"pairs": "pairs.txt"}
    path = shards.layout.error_rates("pairs")
    path.write_bytes(content)
    line = f"pairs: {path} is damaged. Delete it and rerun the same command"
    assert line in lines(shards)


def test_an_interruption_tells_what_is_kept():
    line = interruption(Totals(n_utterances=6000, n_done=1482, n_failed=2))
    assert (
        line == "interrupted: at least 1,480 embeddings are kept. Rerun the same command to go on"
    )


def test_excluded_utterances_are_counted(shards):
    layout = shards.layout
    shards.settings["min_seconds"] = 100
    shards.prepare()
    assert lines(shards)[0].endswith("embedded, 6 excluded, 2 of 2 shards not done")
    rows = [ExcludedRow("alba_00", "alba_00.wav", 1.0)]
    write_excluded(layout.excluded("train"), rows)
    assert ", 1 excluded, " in lines(shards)[0]
    os.utime(layout.excluded("train"), ns=(SINCE, SINCE))
    assert ", 6 excluded, " in lines(shards)[0]
    layout.excluded("train").write_bytes(b"rubbish")
    assert ", 6 excluded, " in lines(shards)[0]


def test_shards_that_are_not_done_and_their_failures(shards):
    for name in ("0-of-2", "1-of-2"):
        write_log(shards.layout.log("embed_shard", f"train/{name}"))
    failures = [Failure(f"utt{i}", "a.wav", "too short") for i in range(MAX_FAILURES_SHOWN + 5)]
    marker = make_marker(n_failed=len(failures), failures=failures, run=RUN)
    write_marker(shards.layout.unfinished("train", "0-of-2"), marker)
    first, *rest = lines(shards)
    assert first.startswith("train: 10 embedded, 0 already embedded, 25 failed, ")
    assert first.endswith(", 2 of 2 shards not done")
    assert rest[0] == "train: utt0: too short"
    assert rest[MAX_FAILURES_SHOWN] == "train: and 5 more, see the logs"
    undone = [line.partition(":")[0] for line in rest[MAX_FAILURES_SHOWN + 1 :]]
    assert undone == ["train 0-of-2", "train 1-of-2"]
    # An earlier run's account of a job that did not finish tells nothing of this one.
    earlier = replace(marker, run="earlier")
    write_marker(shards.layout.unfinished("train", "0-of-2"), earlier)
    assert lines(shards)[0].startswith("train: 0 embedded, 0 already embedded, 0 failed, ")


def test_a_split_whose_manifest_was_not_split(shards):
    shards.layout.plan("train").unlink()
    not_split = "train: not done, its manifest was not split"
    assert lines(shards) == [not_split]
    write_log(shards.layout.log("make_manifest", "train"), "corpus: empty", "really")
    assert lines(shards) == [not_split, "error: corpus: empty", "error: really"]


def test_the_cause_comes_last_and_no_log_that_is_not_of_this_run(shards):
    """An encoder that cannot be fetched stops all shards; no log of theirs exists."""
    layout = shards.layout
    cause = "cannot fetch 'nobody/nothing'"
    layout.encoder_description.unlink()
    write_log(layout.log("fetch_encoder", "encoder"), cause)
    write_log(layout.log("embed_shard", "train/1-of-2"), since=SINCE - 1)
    first, last = lines(shards)
    assert first.endswith(", 2 of 2 shards not done")
    assert last == f"error: {cause}"
    # An earlier run's cause is not this one's.
    write_log(layout.log("fetch_encoder", "encoder"), cause, since=SINCE - 1)
    assert lines(shards) == [first]


def test_a_damaged_marker_counts_nothing(shards):
    shards.layout.marker("train", "0-of-2").write_text("{")
    assert lines(shards)[0].startswith("train: 0 embedded, 0 already embedded, 0 failed, ")
