"""The progress of a whole run: a bar in a terminal, a line every 30 seconds in a log."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TextIO

from tqdm import tqdm

from xvectors.config.layout import Layout, shard_names
from xvectors.sharding.index_shards import Plan, read_plan
from xvectors.sharding.shard_progress import read_progress

SECONDS_PER_HOUR = 3600
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_LINES = 30.0
# From this many hours on, hundredths of an hour are not shown.
MANY_HOURS = 10
# Largest share of the time that looking may take, even with thousands of shards.
LOOKING_PART = 0.05
BAR_FORMAT = "{percentage:3.0f}% |{bar:10}| {desc}"


@dataclass
class Totals:
    """The work of a run so far, and all of its work: `n_utterances` and `audio_seconds`.

    Attributes:
        n_utterances: Utterances in all plans.
        audio_seconds: Their audio.
        n_done: Utterances that are embedded, now or before, or have failed.
        done_seconds: Their audio, about.
        n_embedded: Utterances that this run has embedded.
        embedded_seconds: Their audio.
        n_failed: Utterances that have failed in this run.
        is_complete: Whether all splits have a plan by now.

    """

    n_utterances: int = 0
    audio_seconds: float = 0.0
    n_done: int = 0
    done_seconds: float = 0.0
    n_embedded: int = 0
    embedded_seconds: float = 0.0
    n_failed: int = 0
    is_complete: bool = True


@dataclass(frozen=True)
class RunCounter:
    """Counts what the jobs of a run have done, from the files that they replace.

    Attributes:
        layout: The layout of the output folder.
        splits: The splits of the run.
        run: The name of the run.
        stale: Returns the done-markers that are no longer true.

    """

    layout: Layout
    splits: Collection[str]
    run: str
    stale: Callable[[], Collection[Path]]

    def count(self) -> Totals:
        """Return the work done by now."""
        totals = Totals()
        stale = self.stale()
        for split in self.splits:
            plan = read_plan(self.layout.plan(split))
            if plan is None:
                totals.is_complete = False
                continue
            totals.n_utterances += plan.n_utterances
            totals.audio_seconds += plan.audio_seconds
            for shard in shard_names(plan.n_shards):
                self._add(totals, split, shard, plan, stale)
        # A split that changes while it is counted.
        totals.n_done = min(totals.n_done, totals.n_utterances)
        return totals

    def _add(
        self, totals: Totals, split: str, shard: str, plan: Plan, stale: Collection[Path]
    ) -> None:
        share = plan.audio_seconds / plan.n_shards
        progress = read_progress(self.layout.progress(split, shard))
        if progress is not None and progress.run == self.run:
            totals.n_done += progress.n_done
            totals.done_seconds += progress.part * share
            totals.n_embedded += progress.n_embedded
            totals.embedded_seconds += progress.seconds
            totals.n_failed += progress.n_failed
            return
        marker = self.layout.marker(split, shard)
        if marker not in stale and marker.exists():
            totals.n_done += round(plan.n_utterances / plan.n_shards)
            totals.done_seconds += share


class ProgressLine:
    """A thread that shows how far a run is.

    In a terminal it draws a bar in the last line, and removes it at the end. Elsewhere it prints a
    line every 30 seconds.
    """

    def __init__(self, count: Callable[[], Totals], stream: TextIO = sys.stderr) -> None:
        self._count = count
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._ended = threading.Event()
        self._bar: tqdm[NoReturn] | None = None
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)
        self._begun: float | None = None
        self._last_line = time.monotonic()

    def start(self) -> None:
        """Begin to show the progress."""
        if self._is_terminal:
            self._bar = tqdm(
                file=self._stream, bar_format=BAR_FORMAT, leave=False, dynamic_ncols=True, total=1
            )
        self._thread.start()

    def stop(self) -> None:
        """Remove the bar."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._bar is not None:
            self._bar.close()

    def make_room(self) -> None:
        """Remove the bar until it is drawn again, so that something else can be printed."""
        if self._bar is not None:
            self._bar.clear()

    def _show(self) -> None:
        wait = SECONDS_BETWEEN_LOOKS
        while not self._ended.wait(wait):
            begun = time.monotonic()
            self._show_once()
            wait = max(SECONDS_BETWEEN_LOOKS, (time.monotonic() - begun) / LOOKING_PART)

    def _show_once(self) -> None:
        now = time.monotonic()
        totals = self._count()
        if totals.n_embedded and self._begun is None:
            self._begun = now - SECONDS_BETWEEN_LOOKS
        text = describe(totals, 0.0 if self._begun is None else now - self._begun)
        if self._bar is not None:
            self._bar.total = totals.n_utterances or 1
            self._bar.n = totals.n_done
            self._bar.set_description_str(text)
        elif now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            print(text, file=self._stream, flush=True)


def describe(totals: Totals, seconds: float) -> str:
    """Return totals as a text; `seconds` is the time since this run began to embed."""
    if not totals.n_utterances:
        return "starting"
    hours, all_hours = (
        number / SECONDS_PER_HOUR for number in (totals.done_seconds, totals.audio_seconds)
    )
    digits = 1 if all_hours >= MANY_HOURS else 2
    more = "" if totals.is_complete else "+"
    parts = [f"{totals.n_done:,}/{totals.n_utterances:,}{more} utterances"]
    if all_hours:
        parts.append(f"{hours:.{digits}f}/{all_hours:.{digits}f}{more} h")
    if totals.embedded_seconds and seconds:
        rate = totals.embedded_seconds / seconds
        left = max(totals.audio_seconds - totals.done_seconds, 0.0) / rate
        parts += [f"{rate:,.0f} x real time", f"{duration(left)} left"]
    if totals.n_failed:
        parts.append(f"{totals.n_failed:,} failed")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration with its two largest units."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


class Quiet(logging.Filter):
    """A filter of Snakemake's terminal handler that lets only problems pass.

    Attributes:
        kept: Messages that pass although they are not problems.
        make_room: Called before a message is printed.
        is_interrupted: Whether the user has stopped the run. Nothing passes from then on, because
            the jobs that end then have not failed.

    """

    def __init__(self) -> None:
        super().__init__()
        self.kept: set[str] = set()
        self.make_room: Callable[[], None] = lambda: None
        self.is_interrupted = False

    def attach(self, handlers: Iterable[logging.Handler], is_running: Callable[[], bool]) -> None:
        """Filter what Snakemake's handler of the terminal prints while jobs run."""
        for handler in handlers:
            if handler.name == "DefaultStreamHandler":
                handler.addFilter(lambda record: not is_running() or self.filter(record))

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is printed, and make room for it."""
        passes = record.levelno >= logging.WARNING or record.msg in self.kept
        passes = passes and not self.is_interrupted
        if passes:
            self.make_room()
        return passes
