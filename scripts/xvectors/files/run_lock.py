"""One run at a time per output folder."""

import fcntl
import logging
import math
import os
import socket
import time
from datetime import datetime
from pathlib import Path

from xvectors.errors import ShardError, XVectorsError

logger = logging.getLogger(__name__)

# The jobs of a run learn from this variable to which run they belong.
RUN_VARIABLE = "XVECTORS_RUN"
SECONDS_BETWEEN_LOOKS = 1.0


class RunLock:
    """A lock on an output folder, which this process holds until it ends.

    Snakemake's own lock is a file that stays behind when a run is killed, so that the next run
    refuses to start. The kernel releases this one when the process ends, even if it is killed.
    `filelock` is not used because it would empty the file, which names the holder.
    """

    def __init__(self, root: Path) -> None:
        """Create the lock of the folder `root` without acquiring it."""
        self.root = root
        self.path = root / ".lock"
        self._descriptor: int | None = None
        self._was_refused = False

    def try_to_hold(self) -> bool:
        """Take the lock unless another run holds it. Return whether that worked."""
        if self._descriptor is not None:
            return True
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise XVectorsError(f"{self.root}: cannot be written to: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            self._was_refused = True
            return False
        except OSError as error:
            # Some network file systems have no locks.
            logger.warning(
                "%s: this file system has no locks (%s). Do not start a second run",
                self.root,
                error.strerror,
            )
        self._descriptor = descriptor
        return True

    def hold(self) -> None:
        """Take the lock for this run, and write the holder and the time into it.

        The jobs that this process starts or submits from now on belong to this run.

        Raises:
            XVectorsError: Another run holds it, or did when this one first tried, and so has
                changed the records that this one read; the message says which.

        """
        if self._was_refused or not self.try_to_hold():
            raise XVectorsError(
                f"{self.root}: another run ({self.holder() or 'just begun'}) is writing there; "
                "wait for it or stop it, then rerun the same command"
            )
        assert self._descriptor is not None
        os.truncate(self._descriptor, 0)
        now = datetime.now().astimezone().isoformat(timespec="microseconds")
        holder = f"process {os.getpid()} on {socket.gethostname()} since {now}\n"
        os.pwrite(self._descriptor, holder.encode(), 0)
        # Jobs on other nodes read it; NFS would send it only when the file is closed.
        os.fsync(self._descriptor)
        os.environ[RUN_VARIABLE] = holder.strip()

    def holder(self) -> str:
        """Return who holds the lock or held it last, or an empty text."""
        try:
            return self.path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""


class RunWatch:
    """Lets a job, which may outlive a killed run, notice that another run has begun."""

    def __init__(self, root: Path) -> None:
        """Watch the lock of the folder `root`, on behalf of the run that started this process.

        A process that no run has started belongs to the one that holds the lock now.
        """
        self.run_lock = RunLock(root)
        self.run = os.environ.get(RUN_VARIABLE) or self.run_lock.holder()
        self._next_look = -math.inf

    def check(self) -> None:
        """Raise ShardError if another run holds the lock, or has held it since."""
        self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        holder = self.run_lock.holder()
        if holder != self.run:
            raise ShardError(
                f"this job of an earlier run stopped, because another run ({holder}) has begun"
            )

    def check_at_times(self) -> None:
        """Check as `check` does, but at most once a second."""
        if time.monotonic() >= self._next_look:
            self.check()
