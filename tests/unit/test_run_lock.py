import subprocess
import sys

import pytest

from xvectors.errors import ShardError, XVectorsError
from xvectors.run_lock import RunLock, RunWatch

HOLD = """
import sys, time
from pathlib import Path
from xvectors.run_lock import RunLock
RunLock(Path(sys.argv[1])).hold()
print("held", flush=True)
sys.stdin.read()
"""


def test_one_run_at_a_time_and_a_killed_one_leaves_no_lock(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        mine = RunLock(tmp_path / "out")
        assert not mine.try_to_hold()
        with pytest.raises(XVectorsError, match=rf"another run \(process {other.pid} on "):
            mine.hold()
        other.kill()
    mine.hold()
    assert mine.holder().startswith("process ")
    mine.release()
    assert RunLock(tmp_path / "out").try_to_hold()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(XVectorsError, match="cannot be written to: Not a directory"):
        RunLock(tmp_path / "file" / "out").hold()


def test_a_job_notices_when_the_next_run_begins(tmp_path):
    first = RunLock(tmp_path)
    first.hold()
    watch = RunWatch(tmp_path)
    watch.check()
    first.release()
    watch.check()
    RunLock(tmp_path).hold()
    with pytest.raises(ShardError, match=r"stopped, as another run \(process .*\) began"):
        watch.check()
