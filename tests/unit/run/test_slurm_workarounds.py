import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from xvectors.run.slurm_workarounds import keep_unanswered_jobs


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
