"""The summary of a run: a line per split, and the utterances that failed."""

import time
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from xvectors.errors import ShardError
from xvectors.layout import Layout, shard_names
from xvectors.markers import DoneMarker, read_marker
from xvectors.sharding import read_plan

SECONDS_PER_HOUR = 3600
MAX_FAILURES_SHOWN = 20


def summarize(config: DictConfig, started_ns: int) -> Iterator[str]:
    """Yield the lines that tell what the run that `started_ns` has done.

    Args:
        config: A resolved configuration.
        started_ns: The time in ns at which the run started.

    """
    layout = Layout.of(config)
    minutes, seconds = divmod((time.time_ns() - started_ns) / 1e9, 60)
    for split in config.xvector.splits:
        plan = read_plan(layout.plan(split))
        if plan is None:
            yield f"{split}: not done, its manifest was not split"
            continue
        new, earlier, missing = _accounts(layout, split, plan.n_shards, started_ns)
        n_written = sum(account.n_written for account in new)
        n_failed = sum(account.n_failed for account in new)
        n_skipped = sum(account.n_skipped for account in new)
        n_skipped += sum(account.n_utterances for account in earlier)
        hours = sum(account.audio_seconds for account in new) / SECONDS_PER_HOUR
        undone = f", {missing} of {plan.n_shards} shards not done" if missing else ""
        yield (
            f"{split}: {n_written} embedded, {n_skipped} skipped, {n_failed} failed, "
            f"{hours:.3f} hours of audio embedded, wall time {minutes:.0f} min {seconds:.0f} s"
            f"{undone}"
        )
        failures = [failure for account in new for failure in account.failures]
        for failure in failures[:MAX_FAILURES_SHOWN]:
            yield f"{split}: {failure.utt_id}: {failure.reason}"
        if len(failures) > MAX_FAILURES_SHOWN:
            yield f"{split}: and {len(failures) - MAX_FAILURES_SHOWN} more, see the logs"


def _accounts(
    layout: Layout, split: str, n_shards: int, started_ns: int
) -> tuple[list[DoneMarker], list[DoneMarker], int]:
    """Return the accounts of this run and of earlier ones, and the number of undone shards."""
    new: list[DoneMarker] = []
    earlier: list[DoneMarker] = []
    n_undone = 0
    for name in shard_names(n_shards):
        marker, unfinished = layout.marker(split, name), layout.unfinished(split, name)
        n_undone += not marker.exists()
        for path in (marker, unfinished):
            account = _read(path)
            if account is not None and path.stat().st_mtime_ns >= started_ns:
                new.append(account)
            elif account is not None and path == marker:
                earlier.append(account)
    return new, earlier, n_undone


def _read(path: Path) -> DoneMarker | None:
    try:
        return read_marker(path)
    except ShardError:
        return None
