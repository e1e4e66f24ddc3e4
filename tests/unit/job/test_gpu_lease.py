import os
import signal
import subprocess
import sys

import pytest

from xvectors.errors import EncoderError
from xvectors.job import gpu_lease
from xvectors.job.gpu_lease import GpuLease, processors_of_job, visible_gpus

# Takes a GPU, says which, and keeps it until its input ends.
HOLDER = """
import os, sys
from xvectors.job.gpu_lease import GpuLease
with GpuLease(None, int(sys.argv[1])) as lease:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == lease.gpu
    print(lease.gpu, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with four GPUs, as far as a lease can see, outside of Slurm."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(gpu_lease.tempfile, "tempdir", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)


class Holder:
    """A process that asks for a GPU."""

    def __init__(self, jobs_per_gpu=1, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(jobs_per_gpu)],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def gpu(self):
        """Wait until the process has a GPU and return it."""
        return self.process.stdout.readline().strip()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def start():
    holders = []

    def start(*arguments, **environment):
        holders.append(Holder(*arguments, **environment))
        return holders[-1]

    yield start
    for holder in holders:
        holder.kill()


@pytest.mark.parametrize(
    ("named", "gpus"),
    [
        ("0,1", ["0", "1"]),
        (" 2 , GPU-8a-1f,MIG-77", ["2", "GPU-8a-1f", "MIG-77"]),
        ("0,-1,1", ["0"]),
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_the_gpus_that_cuda_shows(monkeypatch, named, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == gpus


@pytest.mark.parametrize(
    ("devices", "gpus"),
    [
        (["null", "nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"], ["0", "1"]),
        (["null", "dxg"], ["0"]),
        (["null", "nvidiactl"], []),
    ],
)
def test_the_gpus_that_a_machine_has(monkeypatch, tmp_path, devices, gpus):
    for name in devices:
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    scandir = os.scandir
    monkeypatch.setattr(gpu_lease.os, "scandir", lambda folder: scandir(tmp_path))
    assert visible_gpus() == gpus


def test_four_jobs_get_four_gpus(start):
    holders = [start() for _ in range(4)]
    assert sorted(holder.gpu() for holder in holders) == ["0", "1", "2", "3"]


def test_a_fifth_job_waits_until_one_is_killed(start):
    holders = {holder.gpu(): holder for holder in [start() for _ in range(4)]}
    fifth = start()
    holders["2"].kill()
    assert fifth.gpu() == "2"


def test_jobs_that_share_gpus_are_spread_evenly(start):
    gpus = []
    for _ in range(8):
        gpus.append(start(2).gpu())
    assert gpus[:4] == ["0", "1", "2", "3"]
    assert sorted(gpus[4:]) == ["0", "1", "2", "3"]


def test_a_new_job_goes_to_the_gpu_with_the_fewest(start):
    holders = [start(2, CUDA_VISIBLE_DEVICES="0,1") for _ in range(4)]
    on = {"0": [], "1": []}
    for holder in holders:
        on[holder.gpu()].append(holder)
    assert [len(jobs) for jobs in on.values()] == [2, 2]
    for holder in (on["0"][0], *on["1"]):
        holder.kill()
    assert start(2, CUDA_VISIBLE_DEVICES="0,1").gpu() == "1"


def test_a_gpu_that_is_given_back_early():
    lease = GpuLease(None, 1)
    lease.release()
    lease.release()
    assert lease.gpu is None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
    assert GpuLease(None, 1).gpu == "0"


def test_only_what_is_visible_is_taken(start):
    assert start(CUDA_VISIBLE_DEVICES="3,1").gpu() == "3"
    assert start(CUDA_VISIBLE_DEVICES="3,1").gpu() == "1"
    assert {start().gpu(), start().gpu()} == {"0", "2"}


def test_each_slurm_job_has_gpus_of_its_own(start):
    for job in ("7", "8"):
        assert start(SLURM_JOB_ID=job, CUDA_VISIBLE_DEVICES="0").gpu() == "0"
    assert start().gpu() == "0"


def test_the_end_of_a_lease(monkeypatch):
    for shown in ("1", "1,2"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        with GpuLease("cuda", 1) as lease:
            assert lease.gpu == "1"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == shown


def test_a_gpu_of_a_number():
    with GpuLease("cuda:2", 1) as lease:
        assert lease.gpu == "2"
        assert visible_gpus() == ["2"]
    with (
        pytest.raises(EncoderError, match="no cuda:4 here, there are 4 GPUs"),
        GpuLease("cuda:4", 1),
    ):
        pass


def test_no_gpu_is_taken_where_none_is_needed(monkeypatch, tmp_path):
    with GpuLease("cpu", 1) as lease:
        assert lease.gpu is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with GpuLease(None, 1) as lease:
        assert lease.gpu is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("shown", "device", "jobs_per_gpu", "share"),
    [
        ("0,1,2,3", None, 1, 4),
        ("0,1,2,3", "cuda", 2, 2),
        ("0,1,2,3", "cuda:1", 1, 16),
        ("0,1,2,3", "cuda:1", 64, 1),
        ("0,1,2,3", "cpu", 1, 1),
        ("", None, 1, 1),
    ],
)
def test_jobs_share_out_the_processors(monkeypatch, shown, device, jobs_per_gpu, share):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert processors_of_job(device, jobs_per_gpu, 16, None) == share
    assert processors_of_job(device, jobs_per_gpu, None, None) == 1


@pytest.mark.parametrize(("n_jobs", "share"), [(1, 8), (2, 4), (3, 2), (64, 1), (None, 1)])
def test_without_gpus_few_jobs_have_all_processors(monkeypatch, n_jobs, share):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert processors_of_job("cpu", 1, 8, n_jobs) == share
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert processors_of_job(None, 1, 8, n_jobs) == 4


@pytest.mark.parametrize(("given", "n_cores", "share"), [(4, 128, 4), (32, 32, 32), (8, 2, 2)])
def test_a_job_of_slurms_has_what_it_was_given(monkeypatch, given, n_cores, share):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", str(given))
    assert processors_of_job(None, 1, n_cores, None) == share
