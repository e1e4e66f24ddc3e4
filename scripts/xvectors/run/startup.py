"""The start of a run: checks when the workflow is read, writes when the first job is due."""

import atexit
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from xvectors.config.layout import Layout
from xvectors.config.paths import require_utf8
from xvectors.config.resolving import require_config, resolve_config
from xvectors.config.settings import Settings
from xvectors.errors import ConfigError, ShardError
from xvectors.files.run_lock import ENDED, RunLock, RunWatch, name_run
from xvectors.run.checks import check_config, check_manifests
from xvectors.run.progress_line import ProgressLine, Quiet, RunCounter
from xvectors.run.snakemake_workarounds import cancel_timers
from xvectors.run.stale_records import Records, redate_future_files
from xvectors.run.step_modules import ENVIRONMENT, modules_of_steps
from xvectors.run.step_server import StepServer
from xvectors.run.summary import interruption, summarize


class Run:
    """A run of the workflow, or a dry run, which changes nothing.

    Attributes:
        settings: The settings.
        source: Origin of the settings, for error messages.
        layout: Layout of the output folder.
        records: The output folder's records. They are read on first use.
        name: The run's name, which its jobs use too.
        quiet: A filter for what Snakemake prints.

    """

    def __init__(
        self, settings: Settings, source: str, storage_provider: str | None = None
    ) -> None:
        """Store the arguments of `start`, and note which run held the output folder's lock last."""
        self.settings = settings
        self._storage_provider = storage_provider
        self.source = source
        self._is_checked = False
        self.layout = Layout.of(settings)
        self.records = Records(settings)
        self.name = name_run()
        self._started = time.monotonic()
        self._lock = RunLock(self.layout.root)
        self._state = self._lock.state()
        self._began = 0
        self.quiet = Quiet()
        xvector = settings.xvector
        self._counter = RunCounter(
            self.layout, xvector.splits, self.name, lambda: self.records.stale
        )
        self._line = ProgressLine(self._counter.count)
        self._server: StepServer | None = None

    def check(self, to_be_made: Iterable[str] = ()) -> None:
        """Check that everything the configuration refers to is present and valid.

        Further calls do nothing. The including workflow makes the manifests in `to_be_made`.

        Raises:
            XVectorsError: Something is missing or wrong.

        """
        if not self._is_checked:
            to_be_made = set(to_be_made)
            if self._storage_provider is not None:
                raise ConfigError(
                    f"--default-storage-provider {self._storage_provider}: leave it out. "
                    "Embeddings and records are read, renamed and locked on a file system that "
                    "all jobs share"
                )
            check_config(self.settings, self.source, to_be_made)
            check_manifests(self.settings, to_be_made)
            self._is_checked = True

    def begin(self) -> None:
        """Acquire the output folder's lock, after which files may be written.

        Raises:
            XVectorsError: Another run holds the lock, or has changed records that this run has
                read.

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
        redate_future_files(self.layout, self.settings.xvector.splits)
        self._forget_progress()
        self._note_interrupts()
        self.quiet.make_room = self._line.make_room
        self._line.start()

    def has_tables(self) -> bool:
        """Tell whether every split has been embedded and listed before."""
        return all(self.layout.table(split).exists() for split in self.settings.xvector.splits)

    def serve_steps(self, modules: Iterable[str], embeds_here: bool) -> None:
        """Start a server for the steps of this run, unless it has one.

        Every step's script imports `modules` too. `embeds_here` tells whether jobs of this run
        embed on this machine.
        """
        if self._server is None:
            needed = modules_of_steps(self.settings, embeds_here)
            needed["tables"][:0] = modules
            self._server = StepServer(needed, ENVIRONMENT)
            atexit.register(self._server.kill)

    def end(self) -> None:
        """Print a summary of the run, and note beside the lock that it has ended."""
        if self._server is not None:
            self._server.stop()
        self._line.stop()
        if self.quiet.is_interrupted:
            print(interruption(self._counter.count()), file=sys.stderr)
        else:
            seconds = time.monotonic() - self._started
            lines = summarize(self.settings, self.name, seconds, self._began)
            print(*lines, sep="\n", file=sys.stderr)
        self._forget_progress()
        self._lock.note_end()
        cancel_timers()

    def _forget_progress(self) -> None:
        """Remove what jobs, those of earlier runs too, say about their progress."""
        # A job of a run that was killed may be writing there.
        shutil.rmtree(self.layout.progress_files, ignore_errors=True)

    def _note_interrupts(self) -> None:
        """Tell a run that its user stops from one that fails."""
        handle = signal.getsignal(signal.SIGINT)

        def note(number: int, frame: FrameType | None) -> None:
            self.quiet.is_interrupted = True
            if callable(handle):
                handle(number, frame)

        signal.signal(signal.SIGINT, note)


def start(
    raw: Mapping[str, Any],
    source: str,
    place: Callable[[str], str],
    storage_provider: str | None = None,
) -> Run:
    """Check the configuration itself. Writes nothing.

    Args:
        raw: The user's configuration.
        source: Origin of the configuration, for error messages.
        place: Returns a rule's path with the module's prefix, if there is one.
        storage_provider: Snakemake's storage provider for all files, if there is one.

    Raises:
        ConfigError: The configuration or the locale is wrong.

    """
    require_utf8()
    require_config(raw)
    return Run(place_paths(resolve_config(raw, source), place), source, storage_provider)


def place_paths(settings: Settings, place: Callable[[str], str]) -> Settings:
    """Return settings whose paths are where Snakemake puts them in a module with a prefix.

    Files that the module writes lie below the prefix. Files that it only reads are searched for
    there first, and then at the configured path.
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
    """Return the settings of a run's job. The arguments are those of `start`.

    Raises:
        ConfigError: The configuration or the locale is wrong.
        ShardError: The job's run was killed, and another run has started since.

    """
    require_utf8()
    settings = place_paths(resolve_config(raw, source), place)
    # A job may have waited for its node until now.
    RunWatch(Layout.of(settings).root).check_start()
    return settings
