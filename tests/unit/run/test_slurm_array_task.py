import base64
import json
import os
import subprocess
import sys
import zlib

import pytest

PROGRAM = """
import sys
from xvectors.run.slurm_array_task import become_own_task
become_own_task(sys.argv)
print("the process itself")
"""


def run(task, *arguments):
    table = {str(n): zlib.compress(f"echo task {n}".encode()).hex() for n in (8, 9)}
    payload = base64.b64encode(json.dumps(table).encode()).decode()
    environment = {**os.environ, "SLURM_ARRAY_TASK_MIN": "7"}
    if task is not None:
        environment["SLURM_ARRAY_TASK_ID"] = task
    command = [sys.executable, "-c", PROGRAM, *arguments]
    if not arguments:
        command.append(f"--slurm-jobstep-array-execs={payload}")
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return result.stdout.strip()


@pytest.mark.parametrize("task", ["8", "9"])
def test_a_task_runs_its_own_command_and_nothing_else(task):
    assert run(task) == f"task {task}"


def test_all_other_processes_stay_as_they_are():
    assert run("7") == "the process itself"
    assert run(None) == "the process itself"
    assert run("8", "--cores", "2") == "the process itself"
