"""The summary of a run: a line per split, and the utterances that failed."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xvectors.config.layout import Layout, shard_names
from xvectors.config.settings import Settings
from xvectors.errors import ShardError
from xvectors.files.json_text import parse_json
from xvectors.results.tables import read_excluded
from xvectors.run.progress_line import Totals, duration
from xvectors.run.script_log import ERROR
from xvectors.sharding.index_shards import Plan, read_plan
from xvectors.sharding.markers import DoneMarker, Failure, read_marker
from xvectors.verification.score_summary import SCORES

SECONDS_PER_HOUR = 3600
MAX_FAILURES_SHOWN = 20
MAX_SHARDS_SHOWN = 10


def summarize(settings: Settings, run: str, seconds: float, since: int = 0) -> Iterator[str]:
    """Yield the lines that tell what a run has done in `seconds`.

    The accounts of its jobs have its name, `run`. `since` is when it began, in nanoseconds by the
    clock of the output folder's file system.
    """
    layout = Layout.of(settings)
    causes = []
    if not layout.encoder_description.exists():
        causes += errors_in(layout.log("fetch_encoder", "encoder"), since)
    for split in settings.xvector.splits:
        plan = read_plan(layout.plan(split))
        if plan is None:
            yield f"{split}: not done, its manifest was not split"
            for rule in ("make_manifest", "split_manifest"):
                causes += errors_in(layout.log(rule, split), since)
        else:
            yield from _results_of_split(layout, split, plan, run, since)
    yield from _results_of_trials(settings, layout, since)
    if layout.overview.exists():
        yield f"page: {layout.overview}"
    yield f"results: {layout.root}, total time {duration(seconds)}"
    # What stopped everything else comes last, where people look first.
    yield from causes


def _results_of_split(
    layout: Layout, split: str, plan: Plan, run: str, since: int
) -> Iterator[str]:
    """Yield a split's counts, its failures, and the logs of jobs that are not done."""
    done = _add_up(layout, split, plan.n_shards, run)
    hours = done.audio_seconds / SECONDS_PER_HOUR
    undone = done.undone
    silent = f", {done.n_silent} silent" if done.n_silent else ""
    n_excluded = count_excluded(layout, split, plan)
    excluded = f", {n_excluded} excluded" if n_excluded else ""
    of_shards = f", {len(undone)} of {plan.n_shards} shards not done" if undone else ""
    yield (
        f"{split}: {done.n_written} embedded, {done.n_skipped} already embedded, "
        f"{done.n_failed} failed, {hours:.3f} hours of audio embedded"
        f"{silent}{excluded}{of_shards}"
    )
    for failure in done.failures:
        yield f"{split}: {failure.utt_id}: {failure.reason}"
    if done.n_failed > len(done.failures):
        yield f"{split}: and {done.n_failed - len(done.failures)} more, see the logs"
    logs = {name: layout.log("embed_shard", f"{split}/{name}") for name in undone}
    begun = [name for name in undone if is_of_run(logs[name], since)]
    for name in begun[:MAX_SHARDS_SHOWN]:
        yield f"{split} {name}: not done, see {logs[name]}"
    log = layout.log("collect_split", split)
    if not undone and not layout.table(split).exists() and is_of_run(log, since):
        yield f"{split}: its tables are not done, see {log}"


def count_excluded(layout: Layout, split: str, plan: Plan) -> int:
    """Return the number of a split's excluded utterances.

    It is the table's, or the plan's if the table was written before the plan or is damaged.
    """
    table = layout.excluded(split)
    if is_of_run(table, layout.plan(split).stat().st_mtime_ns):
        with suppress(ShardError):
            return sum(1 for _ in read_excluded(table))
    return plan.n_excluded


def interruption(totals: Totals) -> str:
    """Return the line that ends a run that its user has stopped.

    Jobs may still be writing what they have computed.
    """
    n_kept = totals.n_done - totals.n_failed
    return f"interrupted: at least {n_kept:,} embeddings are kept. Rerun the same command to go on"


def _results_of_trials(settings: Settings, layout: Layout, since: int) -> Iterator[str]:
    """Yield a line for each trial list that this run has scored."""
    for trials in settings.xvector.trials:
        path = layout.error_rates(trials)
        if not is_of_run(path, since):
            continue
        figures = ", ".join(_figures(path))
        yield f"{trials}: {figures or f'{path} is damaged. Delete it and rerun the same command'}"


def _figures(path: Path) -> list[str]:
    """Return the figures of a trial list by kind of score, none if the file is damaged."""
    try:
        found = parse_json(path.read_bytes())
        return [f"{_figure(found[key])} by {kind}" for key, kind in SCORES.items() if key in found]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _figure(result: dict[str, Any]) -> str:
    """Return the equal error rate, or, of a list without labels, the median."""
    return f"EER {result['eer']:.2%}" if "eer" in result else f"median {result['median']:.4f}"


def is_of_run(path: Path, since: int) -> bool:
    """Tell whether a file exists and was written since a run began, `since` as in `summarize`."""
    try:
        return path.stat().st_mtime_ns >= since
    except FileNotFoundError:
        return False


def errors_in(log: Path, since: int) -> list[str]:
    """Return the errors that a job of this run has logged, as the terminal showed them."""
    if not is_of_run(log, since):
        return []
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.partition(ERROR)[2] for line in lines if ERROR in line]


@dataclass
class _Sum:
    """The sums of a run's jobs, the first failures, and the shards that are not done."""

    n_written: int = 0
    n_skipped: int = 0
    n_failed: int = 0
    n_silent: int = 0
    audio_seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)


def _add_up(layout: Layout, split: str, n_shards: int, run: str) -> _Sum:
    """Add up the accounts of all shards; what earlier runs embedded counts as already embedded."""
    done = _Sum()
    for name in shard_names(n_shards):
        marker, unfinished = layout.marker(split, name), layout.unfinished(split, name)
        if not marker.exists():
            done.undone.append(name)
        for path in (marker, unfinished):
            account = _read(path)
            if account is None:
                continue
            if account.run == run:
                done.n_written += account.n_written
                done.n_skipped += account.n_skipped
                done.audio_seconds += account.audio_seconds
            elif path == marker:
                done.n_skipped += account.n_written + account.n_skipped
            else:
                continue
            done.n_failed += account.n_failed
            done.n_silent += account.n_silent
            done.failures += account.failures[: MAX_FAILURES_SHOWN - len(done.failures)]
    return done


def _read(path: Path) -> DoneMarker | None:
    try:
        return read_marker(path)
    except ShardError:
        return None
