"""One run at a time per output folder."""

import fcntl
import logging
import math
import os
import shlex
import socket
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from xvectors.errors import ShardError, XVectorsError

logger = logging.getLogger(__name__)

# The jobs of a run learn from these variables to which run they belong, and its command.
RUN_VARIABLE = "XVECTORS_RUN"
COMMAND_VARIABLE = "XVECTORS_COMMAND"
SINCE = " since "
ENDED = "ended"
# How long another job of the same run may take to write down that it holds the lock.
WRITING_SECONDS = 5
JOINING_SECONDS = 0.05
SECONDS_BETWEEN_LOOKS = 1.0
# Errors for which reading finds no lock. Taking the lock then fails, and says why.
UNREADABLE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


def name_run() -> str:
    """Give this process's run a name that its jobs inherit, with the command, and return it."""
    now = datetime.now().astimezone().isoformat(timespec="microseconds")
    name = f"process {os.getpid()} on {socket.gethostname()}{SINCE}{now}"
    os.environ[RUN_VARIABLE] = name
    os.environ[COMMAND_VARIABLE] = command_line(sys.argv)
    return name


def current_run() -> str:
    """Return the name of the run to which this process belongs, an empty text for none."""
    return os.environ.get(RUN_VARIABLE, "")


def current_command() -> str:
    """Return the command of the run to which this process belongs, an empty text for none."""
    # Arguments may hold bytes that are not text.
    return os.environ.get(COMMAND_VARIABLE, "").encode(errors="replace").decode()


def command_line(arguments: Sequence[str]) -> str:
    """Return a process's arguments as one would type them."""
    program = Path(arguments[0])
    is_module = program.name == "__main__.py"
    start = ["python", "-m", program.parent.name] if is_module else [program.name]
    return shlex.join([*start, *arguments[1:]])


class RunLock:
    """A lock on an output folder, which a process holds until it ends.

    Snakemake's own lock is a file that stays behind when a run is killed, so that the next run
    refuses to start. The kernel releases this one when the process ends, even if it is killed.
    `filelock` is not used because it would empty the file, which names the holder.

    A run's main process holds it alone. Where the workflow is a module of another one, nothing runs
    in the main process, so the run's jobs hold it together.
    """

    def __init__(self, root: Path) -> None:
        """Create the lock of the folder `root` without acquiring it."""
        self.root = root
        self.path = root / ".lock"
        self._descriptor: int | None = None

    def hold(self, state: str | None = None) -> None:
        """Take the lock for the run that this process is, and write down who holds it.

        Args:
            state: The lock's state when this run looked at the folder, if it did.

        Raises:
            XVectorsError: Another run holds it, or has held it since this one looked; or the folder
                cannot be written to.

        """
        self._open()
        if not self._try(fcntl.LOCK_EX) or state not in (None, self.state()):
            raise self._held_error()
        self._write(current_run() or name_run())

    def join(self) -> None:
        """Take the lock for the run that started this job, together with its other jobs.

        A process that no run has started belongs to the run that holds the lock.

        Raises:
            XVectorsError: Another run holds it, or the folder cannot be written to.

        """
        run = current_run()
        if not run:
            return
        self._open()
        latest = time.monotonic() + WRITING_SECONDS
        while self.holder() != run:
            if self._try(fcntl.LOCK_EX):
                # Another job of this run may have written it in between.
                if self.holder() != run:
                    RunWatch(self.root).check_start()
                    self._write(run)
            elif time.monotonic() > latest:
                raise self._held_error()
            else:
                time.sleep(JOINING_SECONDS)
        # Fails while the run's main process holds it, which is as good.
        self._try(fcntl.LOCK_SH)

    def note_end(self) -> None:
        """Write down that the run that holds the lock has ended."""
        if self._descriptor is not None:
            self._write(f"{current_run()}\n{ENDED}")

    def state(self) -> str:
        """Return who holds the lock or held it last, and whether that run came to its end."""
        try:
            return self.path.read_text(encoding="utf-8", errors="replace").strip()
        except UNREADABLE:
            return ""

    def holder(self) -> str:
        """Return who holds the lock or held it last, an empty text if nobody ever did."""
        return self.state().partition("\n")[0]

    def _open(self) -> None:
        if self._descriptor is not None:
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise XVectorsError(
                f"{error.filename}: cannot be written to: {error.strerror}"
            ) from error

    def _try(self, kind: int) -> bool:
        """Take the lock if it is free, and tell whether that worked."""
        assert self._descriptor is not None
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            # Some network file systems have no locks.
            logger.warning(
                "%s: this file system has no locks (%s). Do not start a second run",
                self.root,
                error.strerror,
            )
        return True

    def _write(self, text: str) -> None:
        assert self._descriptor is not None
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{text}\n".encode(), 0)
        # Jobs on other nodes read it; NFS would send it only when the file is closed.
        os.fsync(self._descriptor)

    def _held_error(self) -> XVectorsError:
        return XVectorsError(
            f"{self.root}: another run ({self.holder() or 'just begun'}) is writing there; "
            "wait for it, or stop it, and rerun the same command"
        )


class RunWatch:
    """Lets a job, which may outlive a killed run, notice that another run has begun."""

    def __init__(self, root: Path) -> None:
        """Watch the lock of the folder `root`, on behalf of the run that started this process.

        A process that no run has started belongs to the one that holds the lock now.
        """
        self.run_lock = RunLock(root)
        self.run = current_run() or self.run_lock.holder()
        self._next_look = -math.inf

    def check_start(self) -> None:
        """Raise ShardError if a run that began after this one has held the lock."""
        holder = self.run_lock.holder()
        if holder != self.run and _since(holder) > _since(self.run):
            raise _stopped(holder)

    def check(self) -> None:
        """Raise ShardError if another run holds the lock, or has held it since."""
        self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        holder = self.run_lock.holder()
        if holder != self.run:
            raise _stopped(holder)

    def check_at_times(self) -> None:
        """Check as `check` does, but at most once a second."""
        if time.monotonic() >= self._next_look:
            self.check()


def _since(run: str) -> datetime:
    try:
        return datetime.fromisoformat(run.rpartition(SINCE)[2]).astimezone()
    except ValueError:
        return datetime.fromtimestamp(0).astimezone()


def _stopped(holder: str) -> ShardError:
    return ShardError(
        f"this job of an earlier run stopped because another run ({holder}) has begun"
    )
