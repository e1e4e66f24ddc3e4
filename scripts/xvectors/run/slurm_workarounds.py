"""Status queries of Snakemake's Slurm plugin: one without an answer loses no job."""

from collections.abc import AsyncIterator, Callable
from typing import Any


def keep_unanswered_jobs(executor: type[Any]) -> None:
    """Let the plugin's class of executors ask again for the jobs of which a query told nothing.

    The plugin (2.8.0) forgets all jobs when Slurm's controller is silent for as long as a query
    lasts, and the run would then wait for them for ever.

    Args:
        executor: A class with ``check_active_jobs(active_jobs)``, an asynchronous generator of the
            jobs that still run, which reports the others by ``report_job_success(job, ...)`` or
            ``report_job_error(job, ...)``.

    """
    check = executor.check_active_jobs

    async def check_active_jobs(self: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        settled: set[int] = set()

        def noting(report: Callable[..., None]) -> Callable[..., None]:
            def note(job: Any, *rest: Any, **named: Any) -> None:
                settled.add(id(job))
                report(job, *rest, **named)

            return note

        self.report_job_success = noting(self.report_job_success)
        self.report_job_error = noting(self.report_job_error)
        try:
            async for job in check(self, active_jobs):
                settled.add(id(job))
                yield job
        finally:
            del self.report_job_success, self.report_job_error
        for job in active_jobs:
            if id(job) not in settled:
                yield job

    executor.check_active_jobs = check_active_jobs
