"""The start of a run: looking when the workflow is read, writing when its first job is due."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from xvectors.config.layout import Layout
from xvectors.config.resolving import require_config, resolve_config
from xvectors.config.settings import Settings
from xvectors.errors import ShardError
from xvectors.files.run_lock import ENDED, RunLock, RunWatch, name_run
from xvectors.run.checks import check_config, check_manifests
from xvectors.run.stale_records import Records, return_from_future
from xvectors.run.summary import summarize


class Run:
    """A run of the workflow, or a question about it, which changes nothing.

    Attributes:
        settings: The settings.
        source: Where it comes from, for error messages.
        layout: Where everything lies.
        records: What the output folder's records say; nothing is read before it is asked for.
        name: The run's name, as the jobs that it starts know it.

    """

    def __init__(self, settings: Settings, source: str) -> None:
        """Take settings, and note which run held the output folder's lock last."""
        self.settings = settings
        self.source = source
        self._is_checked = False
        self.layout = Layout.of(settings)
        self.records = Records(settings)
        self.name = name_run()
        self._started = time.monotonic()
        self._lock = RunLock(self.layout.root)
        self._state = self._lock.state()
        self._began = 0

    def check(self, made: Iterable[str] = ()) -> None:
        """Check, once, that everything the configuration refers to is there and right.

        Args:
            made: Manifests that the workflow around this one makes.

        Raises:
            XVectorsError: Something is missing or wrong.

        """
        if not self._is_checked:
            made = set(made)
            check_config(self.settings, self.source, made)
            check_manifests(self.settings, made)
            self._is_checked = True

    def begin(self) -> None:
        """Take the output folder's lock; from here on files may be written.

        Raises:
            XVectorsError: Another run holds the lock, or has changed records that this one has
                looked at.

        """
        before = self.records.stale
        self._lock.hold(self._state)
        # By the clock of the file system that has the logs too.
        self._began = self._lock.path.stat().st_mtime_ns
        was_killed = bool(self._state) and not self._state.endswith(ENDED)
        if was_killed and self.records.stale_by_now() != before:
            raise ShardError(
                f"{self.layout.root}: another run has just written there. Rerun the same command"
            )
        return_from_future(self.layout, self.settings.xvector.splits)

    def end(self) -> None:
        """Print what the run has done, and note beside the lock that it has come to its end."""
        seconds = time.monotonic() - self._started
        lines = summarize(self.settings, self.name, seconds, self._began)
        print(*lines, sep="\n", file=sys.stderr)
        self._lock.note_end()


def start(raw: Mapping[str, Any], source: str, place: Callable[[str], str]) -> Run:
    """Check the configuration by itself; nothing is written.

    Args:
        raw: The user's configuration.
        source: Where it comes from, for error messages.
        place: Returns where a path of a rule lies: with the prefix of a module, if it has one.

    Raises:
        ConfigError: The configuration is wrong.

    """
    require_config(raw)
    return Run(place_paths(resolve_config(raw, source), place), source)


def place_paths(settings: Settings, place: Callable[[str], str]) -> Settings:
    """Return settings whose paths are where Snakemake puts them in a module with a prefix.

    Whatever the module writes lies below the prefix. What it only reads is looked for there first,
    and then where the configuration says.
    """
    xvector = settings.xvector

    def find(path: str) -> str:
        return place(path) if Path(place(path)).exists() else path

    changes = {
        "save_path": place(xvector.save_path),
        "manifest_paths": {
            split: place(path) if split in xvector.corpora else find(path)
            for split, path in xvector.manifest_paths.items()
        },
        "trials": {name: find(path) for name, path in xvector.trials.items()},
    }
    return settings.model_copy(update={"xvector": xvector.model_copy(update=changes)})


def start_job(raw: Mapping[str, Any], source: str, place: Callable[[str], str]) -> Settings:
    """Return the settings of a job of a run; the arguments are those of `start`.

    Raises:
        ConfigError: The configuration is wrong.
        ShardError: The job's run was killed, and another one has begun since.

    """
    settings = place_paths(resolve_config(raw, source), place)
    # A job may get its node only now.
    RunWatch(Layout.of(settings).root).check_start()
    return settings
