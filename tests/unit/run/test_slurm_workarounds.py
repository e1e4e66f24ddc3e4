import asyncio
import base64
import json
import os
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import pytest

from xvectors.run.slurm_workarounds import PLUGIN, PLUGIN_VERSION, keep_unanswered_jobs

PROGRAM = """
import sys
from xvectors.run.slurm_workarounds import become_own_task
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


def test_the_workarounds_are_for_the_pinned_version():
    """Look at each workaround when this fails: the plugin's defect may be gone."""
    assert version(PLUGIN) == PLUGIN_VERSION


def test_patching_twice_is_patching_once():
    executor = make_executor([]).__class__
    keep_unanswered_jobs(executor)
    patched = executor.check_active_jobs
    keep_unanswered_jobs(executor)
    assert executor.check_active_jobs is patched


def make_executor(answers):
    """Return an executor to whose queries Slurm answers, or not, of each job."""

    class Executor:
        def __init__(self):
            self.reported = []

        def report_job_success(self, job):
            self.reported.append((job, "success"))

        def report_job_error(self, job, msg=None):
            self.reported.append((job, msg))

        async def check_active_jobs(self, active_jobs):
            for job in active_jobs:
                answer = answers.get(job)
                if answer == "running":
                    yield job
                elif answer == "done":
                    self.report_job_success(job)
                elif answer == "failed":
                    self.report_job_error(job, msg="failed")
                elif answer == "broken":
                    raise RuntimeError(job)

    keep_unanswered_jobs(Executor)
    return Executor()


async def collect(executor, jobs):
    return [job async for job in executor.check_active_jobs(jobs)]


def ask(executor, jobs):
    """Return the jobs that are still active; in a thread, as this one may run a browser's loop."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(collect(executor, jobs))).result()


def test_jobs_without_an_answer_stay_active():
    executor = make_executor({"a": "running", "b": "done", "c": "failed"})
    active = ask(executor, ["a", "b", "c", "d", "e"])
    assert active == ["a", "d", "e"]
    assert executor.reported == [("b", "success"), ("c", "failed")]


def test_no_answer_at_all_loses_no_job():
    executor = make_executor({})
    for _ in range(2):
        assert ask(executor, ["a", "b"]) == ["a", "b"]
    assert executor.reported == []


def test_the_next_query_begins_afresh():
    answers = {"a": "running"}
    executor = make_executor(answers)
    assert ask(executor, ["a"]) == ["a"]
    answers["a"] = "done"
    assert ask(executor, ["a"]) == []
    assert executor.reported == [("a", "success")]


def test_an_error_in_a_query_is_the_plugins_own():
    executor = make_executor({"a": "broken"})
    with pytest.raises(RuntimeError, match="a"):
        ask(executor, ["a"])
    executor.report_job_success("b")
    assert executor.reported == [("b", "success")]
