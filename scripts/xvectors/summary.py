"""The summary of a run: a line per split, and the utterances that failed."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from omegaconf import DictConfig

from xvectors.errors import ShardError
from xvectors.layout import Layout, shard_names
from xvectors.markers import DoneMarker, read_marker
from xvectors.sharding import read_plan

SECONDS_PER_HOUR = 3600
MAX_FAILURES_SHOWN = 20
MAX_SHARDS_SHOWN = 10


def summarize(
    config: DictConfig, started_ns: int, log_of: Callable[[str, str], str]
) -> Iterator[str]:
    """Yield the lines that tell what the run that `started_ns` has done.

    Args:
        config: A resolved configuration.
        started_ns: The time in ns at which the run started.
        log_of: Returns the log of a rule's job, named like ``train/0-of-4``.

    """
    layout = Layout.of(config)
    minutes, seconds = divmod((time.time_ns() - started_ns) / 1e9, 60)
    for split in config.xvector.splits:
        plan = read_plan(layout.plan(split))
        if plan is None:
            yield f"{split}: not done, its manifest was not split"
            continue
        new, earlier, undone = _accounts(layout, split, plan.n_shards, started_ns)
        n_written = sum(account.n_written for account in new)
        n_failed = sum(account.n_failed for account in new)
        n_skipped = sum(account.n_skipped for account in new)
        n_skipped += sum(account.n_utterances for account in earlier)
        hours = sum(account.audio_seconds for account in new) / SECONDS_PER_HOUR
        of_shards = f", {len(undone)} of {plan.n_shards} shards not done" if undone else ""
        yield (
            f"{split}: {n_written} embedded, {n_skipped} skipped, {n_failed} failed, "
            f"{hours:.3f} hours of audio embedded, wall time {minutes:.0f} min {seconds:.0f} s"
            f"{of_shards}"
        )
        failures = [failure for account in new for failure in account.failures]
        for failure in failures[:MAX_FAILURES_SHOWN]:
            yield f"{split}: {failure.utt_id}: {failure.reason}"
        if len(failures) > MAX_FAILURES_SHOWN:
            yield f"{split}: and {len(failures) - MAX_FAILURES_SHOWN} more, see the logs"
        for name in undone[:MAX_SHARDS_SHOWN]:
            yield f"{split} {name}: not done, see {log_of('embed_shard', f'{split}/{name}')}"


def _accounts(
    layout: Layout, split: str, n_shards: int, started_ns: int
) -> tuple[list[DoneMarker], list[DoneMarker], list[str]]:
    """Return the accounts of this run and of earlier ones, and the shards that are not done."""
    new: list[DoneMarker] = []
    earlier: list[DoneMarker] = []
    undone = []
    for name in shard_names(n_shards):
        marker, unfinished = layout.marker(split, name), layout.unfinished(split, name)
        if not marker.exists():
            undone.append(name)
        for path in (marker, unfinished):
            account = _read(path)
            if account is not None and path.stat().st_mtime_ns >= started_ns:
                new.append(account)
            elif account is not None and path == marker:
                earlier.append(account)
    return new, earlier, undone


def _read(path: Path) -> DoneMarker | None:
    try:
        return read_marker(path)
    except ShardError:
        return None
