"""A mend for Snakemake's Slurm plugin: a status query without an answer loses no job.

The plugin (2.8.0) forgets all jobs when Slurm's controller is silent for as long as a query lasts,
and the run would then wait for them for ever.
"""

try:
    from snakemake_executor_plugin_slurm import Executor as SlurmExecutor
except ImportError:
    SlurmExecutor = None


def keep_unanswered_jobs(executor):
    """Let an executor ask again for the jobs of which a query told nothing."""
    check = executor.check_active_jobs

    async def check_active_jobs(self, active_jobs):
        settled = set()
        originals = self.report_job_success, self.report_job_error

        def noting(function):
            def note(job, *rest, **named):
                settled.add(id(job))
                function(job, *rest, **named)

            return note

        self.report_job_success, self.report_job_error = map(noting, originals)
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


if SlurmExecutor is not None and workflow.is_main_process:
    keep_unanswered_jobs(SlurmExecutor)
