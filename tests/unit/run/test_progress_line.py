import io
import logging
import time

import pytest

from tests.support.made_split import make_marker
from tests.support.shards import Shards
from xvectors.run import progress_line
from xvectors.run.progress_line import (
    ProgressLine,
    Quiet,
    RunCounter,
    Totals,
    describe,
    duration,
)
from xvectors.sharding.markers import write_marker
from xvectors.sharding.shard_progress import ShardProgress, write_progress

RUN = "this run"


@pytest.fixture
def shards(corpus, demo_encoder) -> Shards:
    """A split into two shards, of which no job has run."""
    shards = Shards(corpus, demo_encoder, n_shards=2)
    shards.prepare()
    return shards


def count(shards, *stale, splits=("train",)) -> Totals:
    return RunCounter(shards.layout, splits, RUN, lambda: stale).count()


def test_a_split_without_a_plan_is_not_counted_yet(shards):
    totals = count(shards, splits=["train", "valid"])
    assert not totals.is_complete
    assert totals.n_done == 0
    assert totals.n_utterances > 0


def test_what_earlier_runs_have_done_is_done(shards):
    layout = shards.layout
    markers = [layout.marker("train", name) for name in ("0-of-2", "1-of-2")]
    for marker in markers:
        write_marker(marker, make_marker(run="earlier"))
    totals = count(shards)
    assert totals.n_done == totals.n_utterances
    assert totals.done_seconds == pytest.approx(totals.audio_seconds)
    half = count(shards, markers[0])
    assert half.n_done == totals.n_utterances / 2
    assert half.done_seconds == pytest.approx(totals.audio_seconds / 2)


def test_the_files_of_jobs_are_added_up_and_those_of_other_runs_left_out(shards):
    layout = shards.layout
    mine = ShardProgress(RUN, n_done=3, n_embedded=2, n_failed=1, part=0.5, seconds=10.0)
    write_progress(layout.progress("train", "0-of-2"), mine)
    others = ShardProgress("earlier", n_done=4, n_embedded=4, n_failed=0, part=1.0, seconds=9.0)
    write_progress(layout.progress("train", "1-of-2"), others)
    totals = count(shards)
    assert (totals.n_done, totals.n_embedded, totals.n_failed) == (3, 2, 1)
    assert totals.embedded_seconds == 10.0
    assert totals.done_seconds == pytest.approx(totals.audio_seconds / 4)


def test_the_text():
    assert describe(Totals(is_complete=False), 0.0) == "starting"
    totals = Totals(n_utterances=60_000, audio_seconds=36_000.0 * 8, n_done=1234)
    assert describe(totals, 0.0) == "1,234/60,000 utterances, 0.0/80.0 h"
    totals.done_seconds, totals.embedded_seconds, totals.n_embedded = 18_000.0, 15_000.0, 1000
    totals.n_failed = 2
    assert describe(totals, 50.0) == (
        "1,234/60,000 utterances, 5.0/80.0 h, 300 x real time, 15 min 0 s left, 2 failed"
    )
    totals = Totals(n_utterances=8, audio_seconds=36.0, is_complete=False)
    assert describe(totals, 0.0) == "0/8+ utterances, 0.00/0.01+ h"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.6, "1 min 0 s"),
        (125, "2 min 5 s"),
        (7260, "2 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stream, monkeypatch) -> str:
    """Return what a line shows within three looks."""
    monkeypatch.setattr(progress_line, "SECONDS_BETWEEN_LOOKS", 0.01)
    looks = []

    def count() -> Totals:
        looks.append(len(looks))
        return Totals(n_utterances=10, n_done=len(looks))

    line = ProgressLine(count, stream)
    line.start()
    latest = time.monotonic() + 20
    while len(looks) < 3 and time.monotonic() < latest:
        time.sleep(0.01)
    line.make_room()
    line.stop()
    assert len(looks) >= 3
    return stream.getvalue()


def test_a_log_gets_lines_at_times(monkeypatch):
    assert shown(io.StringIO(), monkeypatch) == ""
    monkeypatch.setattr(progress_line, "SECONDS_BETWEEN_LINES", 0)
    lines = shown(io.StringIO(), monkeypatch).splitlines()
    assert lines[:2] == ["1/10 utterances", "2/10 utterances"]


def test_a_terminal_gets_a_bar_in_one_line_that_goes(monkeypatch):
    text = shown(Terminal(), monkeypatch)
    assert " 10% |#         | 1/10 utterances" in text
    assert "2/10 utterances" in text
    assert "\n" not in text
    assert text.endswith("\r")


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_a_line_that_is_never_started_shows_nothing(kind):
    stream = kind()
    line = ProgressLine(Totals, stream)
    line.make_room()
    line.stop()
    assert stream.getvalue() == ""


def record(level: int, message: str) -> logging.LogRecord:
    return logging.LogRecord("snakemake", level, __file__, 1, message, None, None)


def test_only_problems_pass_and_nothing_after_an_interrupt():
    rooms = []
    quiet = Quiet()
    quiet.make_room = lambda: rooms.append(1)
    quiet.kept.add("Nothing to be done.")
    assert not quiet.filter(record(logging.INFO, "rule embed_shard:"))
    assert rooms == []
    assert quiet.filter(record(logging.INFO, "Nothing to be done."))
    assert quiet.filter(record(logging.ERROR, "Error in rule embed_shard:"))
    assert len(rooms) == 2
    quiet.is_interrupted = True
    assert not quiet.filter(record(logging.ERROR, "Error in rule embed_shard:"))


def test_only_the_terminals_handler_is_filtered_and_only_while_jobs_run():
    terminal, file = logging.NullHandler(), logging.NullHandler()
    terminal.name, file.name = "DefaultStreamHandler", "DefaultLogFileHandler"
    running = [True]
    Quiet().attach([terminal, file], lambda: running[0])
    message = record(logging.INFO, "rule embed_shard:")
    assert not terminal.filter(message)
    assert file.filter(message)
    running[0] = False
    assert terminal.filter(message)
