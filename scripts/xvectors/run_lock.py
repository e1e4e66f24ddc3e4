"""One run at a time per output folder."""

import fcntl
import logging
import os
import socket
from pathlib import Path

from xvectors.errors import XVectorsError

logger = logging.getLogger(__name__)

_held: list[int] = []


def hold_run_lock(root: Path) -> None:
    """Lock `root` for this process until it ends, however it ends.

    Snakemake's own lock is a file that stays behind when a run is killed, so that the next run
    refuses to start; the kernel frees this one with the process.

    Raises:
        XVectorsError: Another run holds it; the message says which.

    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / ".lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = path.read_text(encoding="utf-8").strip()
        os.close(descriptor)
        raise XVectorsError(
            f"{root}: another run ({holder}) is writing there; wait for it, or stop it"
        ) from error
    except OSError as error:
        # Some network file systems have no locks.
        logger.warning("%s: cannot be locked (%s); start no second run on it", root, error.strerror)
    os.truncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    _held.append(descriptor)
