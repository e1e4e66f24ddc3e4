import fcntl
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from xvectors.errors import ShardError, XVectorsError
from xvectors.files.run_lock import (
    COMMAND_VARIABLE,
    ENDED,
    RUN_VARIABLE,
    RunLock,
    RunWatch,
    command_line,
    current_command,
    current_run,
    name_run,
)

HOLD = """
import sys, time
from pathlib import Path
from xvectors.files.run_lock import RunLock, name_run
name_run()
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
        with pytest.raises(XVectorsError, match=rf"another run \(process {other.pid} on "):
            mine.hold()
    mine.hold()
    assert mine.holder().startswith(f"process {os.getpid()} on ")


def test_a_run_that_has_only_just_begun_has_no_name_yet(tmp_path):
    first = (tmp_path / ".lock").open("w")
    fcntl.flock(first, fcntl.LOCK_EX)
    with first, pytest.raises(XVectorsError, match=r"another run \(just begun\)"):
        RunLock(tmp_path).hold()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(XVectorsError, match="cannot be written to: Not a directory"):
        RunLock(tmp_path / "file" / "out").hold()


@pytest.mark.parametrize(
    "rubbish", [b"\xff\xfe\0", b"", b"a since 2026-01-01", b"a since 2026-01-01T00:00:00\nb"]
)
def test_rubbish_in_the_lock_file_is_in_nobodys_way(tmp_path, monkeypatch, rubbish):
    monkeypatch.setenv(RUN_VARIABLE, "process 1 on a since 2026-11-29T00:00:00.000000+00:00")
    lock = RunLock(tmp_path)
    lock.path.write_bytes(rubbish)
    RunWatch(tmp_path).check_start()
    lock.hold(lock.state())
    assert lock.state() == current_run()


def test_a_folder_in_place_of_the_lock_file(tmp_path):
    lock = RunLock(tmp_path)
    lock.path.mkdir()
    assert lock.state() == ""
    with pytest.raises(XVectorsError, match=r"\.lock: cannot be written to: Is a directory"):
        lock.hold("")


def test_a_job_notices_when_the_next_run_begins(tmp_path):
    with another_run(tmp_path):
        watch = RunWatch(tmp_path)
        watch.check()
    watch.check()
    RunLock(tmp_path).hold()
    with pytest.raises(ShardError, match=r"stopped because another run \(process .*\) has begun"):
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


def test_a_run_does_not_go_by_what_another_one_has_changed_since(tmp_path):
    mine = RunLock(tmp_path)
    state = mine.state()
    with another_run(tmp_path):
        pass
    with pytest.raises(XVectorsError, match=r"another run \(process .*\) is writing there"):
        mine.hold(state)


def test_the_end_of_a_run_is_noted(tmp_path):
    lock = RunLock(tmp_path)
    lock.hold()
    assert not lock.state().endswith(ENDED)
    holder = lock.holder()
    lock.note_end()
    assert lock.state().endswith(ENDED)
    assert lock.holder() == holder


def test_the_jobs_of_a_run_hold_its_lock_together(tmp_path):
    name = name_run()
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.join()
    second.join()
    assert first.holder() == name
    with pytest.raises(XVectorsError, match="another run"):
        RunLock(tmp_path).hold()


def test_a_job_joins_its_runs_main_process(tmp_path):
    name = name_run()
    run = RunLock(tmp_path)
    run.hold()
    RunLock(tmp_path).join()
    assert run.holder() == name


def test_a_late_job_does_not_take_the_lock_after_a_newer_run(tmp_path, monkeypatch):
    earlier = name_run()
    with another_run(tmp_path):
        pass
    monkeypatch.setenv(RUN_VARIABLE, earlier)
    with pytest.raises(ShardError, match=r"another run \(process .*\) has begun"):
        RunLock(tmp_path).join()
    with pytest.raises(ShardError, match=r"another run \(process .*\) has begun"):
        RunWatch(tmp_path).check_start()


def test_a_job_of_a_newer_run_takes_the_lock(tmp_path):
    with another_run(tmp_path):
        pass
    name = name_run()
    RunWatch(tmp_path).check_start()
    lock = RunLock(tmp_path)
    lock.join()
    assert lock.holder() == name


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/venv/bin/snakemake", "--cores", "4"], "snakemake --cores 4"),
        (["/lib/snakemake/__main__.py", "-n"], "python -m snakemake -n"),
        (["snakemake", "--config", "a=b c"], "snakemake --config 'a=b c'"),
    ],
)
def test_a_command_is_as_one_would_type_it(arguments, expected):
    assert command_line(arguments) == expected


def test_a_run_s_jobs_know_its_command(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/bin/snakemake", "\udcff"])
    monkeypatch.setenv(COMMAND_VARIABLE, "")
    monkeypatch.setenv(RUN_VARIABLE, "")
    name_run()
    assert current_command() == "snakemake '?'"
