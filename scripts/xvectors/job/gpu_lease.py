"""A GPU for each job of a machine, leased by locks on files.

Neither Snakemake nor CUDA distributes the GPUs of one machine among jobs. Here every job locks a
file that stands for a GPU, in a folder of the machine itself. The kernel releases the lock when
the job ends, even if it is killed.
"""

import fcntl
import itertools
import logging
import os
import re
import socket
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from xvectors.errors import EncoderError

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_TRIES = 0.5


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Without that variable these are all GPUs of the machine, numbered from 0. The Windows Subsystem
    for Linux does not tell how many there are; there it is the first one.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        devices = [entry.name for entry in os.scandir("/dev")]
        n_gpus = sum(re.fullmatch(r"nvidia\d+", name) is not None for name in devices)
        return [str(number) for number in range(n_gpus or int("dxg" in devices))]
    gpus = []
    for gpu in (part.strip() for part in named.split(",")):
        # According to CUDA's documentation, an invalid entry hides all entries after it. Slurm
        # writes NoDevFiles for a job without a GPU.
        if not re.fullmatch(r"\d+|(GPU|MIG)-\S+", gpu):
            break
        gpus.append(gpu)
    return gpus


def processors_of_job(
    device: str | None, jobs_per_gpu: int, n_cores: int | None, n_jobs: int | None
) -> int:
    """Return a job's share of the processors, at least one.

    With GPUs, as many jobs run at once as `jobs_per_gpu` allows. Without, all `n_jobs` of the run,
    if their number is known. `n_cores` are the processors that Snakemake may use, None if it was
    not told. Inside a Slurm job, Snakemake counts all processors of the node, even those that the
    job does not have.
    """
    given = int(os.environ.get("SLURM_CPUS_PER_TASK", n_cores or 1))
    n_processors = min(n_cores or 1, given)
    gpus = [] if device == "cpu" else visible_gpus()
    n_gpus = 1 if gpus and ":" in (device or "") else len(gpus)
    n_at_once = n_gpus * jobs_per_gpu if gpus else n_jobs or n_processors
    return max(n_processors // n_at_once, 1)


def node_name() -> str:
    """Return the name of this machine: Slurm's, or else its own."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


class GpuLease:
    """The only GPU that CUDA shows to this process. Use it as a context manager.

    Attributes:
        gpu: The GPU as CUDA_VISIBLE_DEVICES names it, None without one.
        waited_seconds: How long it took to get it.

    """

    def __init__(self, device: str | None, jobs_per_gpu: int) -> None:
        """Wait for a GPU that fewer than `jobs_per_gpu` jobs use, and take it.

        The device is that of the configuration: None or cuda for any GPU, cuda:1 for that one, cpu
        for no GPU.

        Raises:
            EncoderError: There is no GPU of that number.

        """
        asked = time.monotonic()
        self.gpu: str | None = None
        self._descriptor: int | None = None
        self._shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = [] if device == "cpu" else visible_gpus()
        number = (device or "").partition(":")[2]
        if gpus and number:
            if int(number) >= len(gpus):
                raise EncoderError(f"xvector.device: no {device} here, there are {len(gpus)} GPUs")
            gpus = [gpus[int(number)]]
        if gpus:
            self.gpu, self._descriptor = _wait_for_one(gpus, jobs_per_gpu)
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu
        self.waited_seconds = time.monotonic() - asked

    def release(self) -> None:
        """Release the GPU."""
        if self._descriptor is None:
            return
        os.close(self._descriptor)
        self.gpu, self._descriptor = None, None
        if self._shown is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = self._shown

    def __enter__(self) -> "GpuLease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _wait_for_one(gpus: list[str], jobs_per_gpu: int) -> tuple[str, int]:
    """Return the GPU with the fewest jobs, and the descriptor of the lock of a slot on it."""
    folder = _lock_folder()
    is_waiting = False
    while True:
        # One job at a time chooses, so that no two count the same slots.
        choosing = os.open(folder / "choosing", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(choosing, fcntl.LOCK_EX)
        free = {gpu: _free_places(folder, gpu, jobs_per_gpu) for gpu in gpus}
        chosen = max(gpus, key=lambda gpu: len(free[gpu]))
        kept = free[chosen].pop() if free[chosen] else None
        for descriptor in itertools.chain(*free.values(), [choosing]):
            os.close(descriptor)
        if kept is not None:
            return chosen, kept
        if not is_waiting:
            logger.info("waiting for a GPU, all are in use: %s", ", ".join(gpus))
        is_waiting = True
        time.sleep(SECONDS_BETWEEN_TRIES)


def _free_places(folder: Path, gpu: str, n_places: int) -> list[int]:
    """Lock all free slots of a GPU, and return the locks' descriptors."""
    paths = [folder / f"{quote(gpu, safe='')}.{place}" for place in range(n_places)]
    return [lock for path in paths if (lock := _try_to_lock(path)) is not None]


def _lock_folder() -> Path:
    """Return the folder of the locks: one per user and machine, or per Slurm job.

    Slurm distributes the GPUs among its jobs, and may show each job its own GPU as 0.
    """
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID")
    slurm = "".join(f"-{os.environ[name]}" for name in names if name in os.environ)
    folder = Path(tempfile.gettempdir()) / f"xvectors-gpus-{os.getuid()}{slurm}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _try_to_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
