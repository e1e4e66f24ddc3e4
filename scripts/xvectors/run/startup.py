"""The start of a run, and of each of its jobs: what must hold before anything is done."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from xvectors.config.layout import Layout
from xvectors.config.resolving import resolve_config
from xvectors.config.settings import Settings
from xvectors.files.run_lock import RunLock, RunWatch
from xvectors.run.checks import check_config, check_manifests
from xvectors.run.stale_records import remove_stale_records


class Started(NamedTuple):
    """The resolved configuration, where everything lies, and the lock of the output folder."""

    settings: Settings
    layout: Layout
    lock: RunLock


def start(raw: Mapping[str, Any], source: str, is_main_process: bool) -> Started:
    """Check the configuration and what it refers to, and remove bookkeeping that is untrue.

    Args:
        raw: The user's configuration.
        source: Where it comes from, for error messages.
        is_main_process: Whether this is the run itself; else it is one of its jobs.

    Raises:
        XVectorsError: The configuration, a manifest or what else it refers to is wrong, or this
            is the job of a run that was killed, and another run has begun since.

    """
    settings = resolve_config(raw, source)
    layout = Layout.of(settings)
    lock = RunLock(layout.root)
    if not is_main_process:
        # It may have got its node only now.
        RunWatch(layout.root).check()
        return Started(settings, layout, lock)
    check_config(settings, source)
    check_manifests(settings)
    # While another run is writing there, its bookkeeping is its own. None may begin from here on.
    if layout.root.is_dir() and lock.try_to_hold():
        remove_stale_records(settings)
    return Started(settings, layout, lock)
