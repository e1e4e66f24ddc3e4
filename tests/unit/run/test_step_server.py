"""Scripts that a run's server runs in forks of a process with their imports."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xvectors.run.step_server import VARIABLE, StepServer, leave_server

SCRIPT = """
import sys
from xvectors.run.step_server import hand_over

hand_over(sys.argv[3])

import os
import time
from pathlib import Path

Path(sys.argv[1]).write_text(f"{os.getpid()} {'wave' in sys.modules} {os.environ.get('COLOUR')}")
if sys.argv[2] == "sleep":
    time.sleep(60)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def server():
    server = StepServer({"tables": ["wave", "no_such_module"], "encoders": []}, {})
    yield server
    server.stop()


class Step:
    """A script and what the process that ran it has written."""

    def __init__(self, folder: Path, does: str, server: str = "tables") -> None:
        (folder / "script.py").write_text(SCRIPT)
        self.note = folder / "note"
        command = [sys.executable, "script.py", str(self.note), does, server]
        # A relative path of the script, and a variable of its own.
        environment = os.environ | {"COLOUR": "green"}
        self.process = subprocess.Popen(command, cwd=folder, env=environment)

    def written(self) -> list[str]:
        while not (self.note.exists() and self.note.read_text()):
            time.sleep(0.01)
        return self.note.read_text().split()


@pytest.mark.parametrize(("status", "name"), [(0, "tables"), (3, "encoders")])
def test_a_script_runs_in_a_fork_with_the_imports(server, tmp_path, status, name):
    step = Step(tmp_path, str(status), name)
    assert step.process.wait() == status
    process_id, has_module, colour = step.written()
    assert int(process_id) != step.process.pid
    assert (has_module, colour) == ("True", "green")


def test_a_script_runs_by_itself_without_a_server(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, f"{tmp_path}:{sys.prefix}")
    step = Step(tmp_path, "4")
    assert step.process.wait() == 4
    assert step.written() == [str(step.process.pid), "False", "green"]


def test_a_script_of_another_environment_runs_by_itself(server, tmp_path, monkeypatch):
    folder, _, _ = os.environ[VARIABLE].partition(":")
    monkeypatch.setenv(VARIABLE, f"{folder}:/another")
    step = Step(tmp_path, "0")
    step.process.wait()
    assert step.written()[0] == str(step.process.pid)


def test_a_job_elsewhere_leaves_the_server(server, monkeypatch):
    monkeypatch.setenv(VARIABLE, os.environ[VARIABLE])
    leave_server()
    assert VARIABLE not in os.environ


def test_a_script_whose_process_is_killed_fails(server, tmp_path):
    step = Step(tmp_path, "sleep")
    os.kill(int(step.written()[0]), signal.SIGKILL)
    assert step.process.wait() == 137


def test_the_process_of_a_killed_script_ends(server, tmp_path):
    step = Step(tmp_path, "sleep")
    process = Path("/proc", step.written()[0], "cmdline")
    step.process.kill()
    step.process.wait()
    # The entry of a process that has ended is empty or missing. It may go while it is read.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while process.read_bytes():
            time.sleep(0.01)


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """The file without which the second process of a server goes on."""
    # The import begins when there is a file, and waits until it is gone.
    importing = tmp_path / "importing"
    (tmp_path / "slow_module.py").write_text(
        f"import time, pathlib\npath = pathlib.Path({str(importing)!r})\npath.touch()\n"
        "while path.exists():\n    time.sleep(0.01)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv(VARIABLE, "")
    server = StepServer({"tables": [], "encoders": ["slow_module"]}, {})
    while not importing.exists():
        time.sleep(0.01)
    yield importing
    importing.unlink(missing_ok=True)
    server.stop()


def test_an_interrupt_ends_a_script_that_waits_for_the_imports(slow, tmp_path):
    step = Step(tmp_path, "0", "encoders")
    while not is_connected(os.environ[VARIABLE].partition(":")[0] + "/encoders"):
        time.sleep(0.01)
    step.process.send_signal(signal.SIGINT)
    assert step.process.wait() == -signal.SIGINT
    slow.unlink()
    assert not step.note.exists()


def test_a_script_does_not_wait_for_imports_of_others(slow, tmp_path):
    step = Step(tmp_path, "0")
    assert step.process.wait() == 0
    assert step.written()[0] != str(step.process.pid)


def is_connected(address: str) -> bool:
    """Tell whether a script waits at the server's address."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(f" {address}") for line in lines) > 1


def test_the_server_ends_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv(VARIABLE, raising=False)
    server = StepServer({"tables": []}, {})
    assert len(list(tmp_path.iterdir())) == 1
    server.stop()
    assert not list(tmp_path.iterdir())
    assert VARIABLE not in os.environ


def test_a_run_without_a_temporary_folder_has_no_server(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("long" * 30)))
    monkeypatch.delenv(VARIABLE, raising=False)
    StepServer({"tables": []}, {}).stop()
    (tmp_path / ("long" * 30)).mkdir()
    StepServer({"tables": []}, {}).stop()
    assert VARIABLE not in os.environ
    assert not list((tmp_path / ("long" * 30)).iterdir())
