import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from xvectors.errors import ShardError, XVectorsError
from xvectors.files.run_lock import RUN_VARIABLE, RunLock, RunWatch

HOLD = """
import sys, time
from pathlib import Path
from xvectors.files.run_lock import RunLock
RunLock(Path(sys.argv[1])).hold()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def no_run(monkeypatch):
    """Belong to no run, and to none that a test begins after it."""
    monkeypatch.setenv(RUN_VARIABLE, "")


@contextmanager
def another_run(root):
    """Run another process that holds the lock, until it is killed."""
    command = [sys.executable, "-c", HOLD, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        yield other
        other.kill()


def test_one_run_at_a_time_and_a_killed_one_leaves_no_lock(tmp_path):
    with another_run(tmp_path / "out") as other:
        mine = RunLock(tmp_path / "out")
        assert not mine.try_to_hold()
        with pytest.raises(XVectorsError, match=rf"another run \(process {other.pid} on "):
            mine.hold()
    with pytest.raises(XVectorsError, match="then rerun the same command"):
        mine.hold()
    mine = RunLock(tmp_path / "out")
    mine.hold()
    assert mine.holder().startswith(f"process {os.getpid()} on ")


def test_a_run_that_has_only_just_begun_has_no_name_yet(tmp_path):
    first = RunLock(tmp_path)
    assert first.try_to_hold()
    with pytest.raises(XVectorsError, match=r"another run \(just begun\)"):
        RunLock(tmp_path).hold()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(XVectorsError, match="cannot be written to: Not a directory"):
        RunLock(tmp_path / "file" / "out").hold()


def test_a_job_notices_when_the_next_run_begins(tmp_path):
    with another_run(tmp_path):
        watch = RunWatch(tmp_path)
        watch.check()
    watch.check()
    RunLock(tmp_path).hold()
    with pytest.raises(ShardError, match=r"stopped, because another run \(process .*\) has begun"):
        watch.check()


def test_a_job_that_starts_late_still_belongs_to_its_own_run(tmp_path, monkeypatch):
    RunLock(tmp_path).hold()
    first = os.environ[RUN_VARIABLE]
    monkeypatch.delenv(RUN_VARIABLE)
    (tmp_path / ".lock").write_text("the next run")
    RunWatch(tmp_path).check()
    monkeypatch.setenv(RUN_VARIABLE, first)
    with pytest.raises(ShardError, match=r"another run \(the next run\) has begun"):
        RunWatch(tmp_path).check()


def test_a_busy_job_looks_at_the_lock_once_a_second_at_most(tmp_path, monkeypatch):
    RunLock(tmp_path).hold()
    watch = RunWatch(tmp_path)
    now, looks = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(watch.run_lock, "holder", lambda: looks.append(now[0]) or watch.run)
    for now[0] in (0.0, 0.5, 0.99, 1.0, 1.5, 2.25, 3.0):
        watch.check_at_times()
    assert looks == [0.0, 1.0, 2.25]
    watch.check()
    assert len(looks) == 4
