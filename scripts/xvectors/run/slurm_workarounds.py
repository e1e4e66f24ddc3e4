"""Workarounds for Snakemake's Slurm plugin, each behind one function.

They are for the version `PLUGIN_VERSION`. With any other version they stay out of the way, and a
test fails as soon as the pinned version is another one, so that they are looked at again.
"""

import base64
import importlib
import json
import os
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PLUGIN = "snakemake-executor-plugin-slurm"
PLUGIN_VERSION = "2.8.0"
ARRAY_OPTION = "--slurm-jobstep-array-execs="
PATCHED = "_xvectors_keeps_unanswered_jobs"


def work_around_slurm(is_main_process: bool) -> None:
    """Apply all workarounds; does nothing without the plugin, or with another version of it.

    It may be called several times, since a module of a workflow may be read several times.
    """
    try:
        if version(PLUGIN) != PLUGIN_VERSION:
            return
    except PackageNotFoundError:
        return
    become_own_task(sys.argv)
    if is_main_process:
        # The plugin is optional, and has no types.
        plugin = importlib.import_module("snakemake_executor_plugin_slurm")
        keep_unanswered_jobs(plugin.Executor)


def become_own_task(arguments: list[str]) -> None:
    """Replace this process by the command of the array task that it is, if it is one.

    The plugin starts every task of an array as the first one, which runs the task's own
    command in a process of its own and then expects the first task's output: all others fail
    when that takes longer than a few seconds.

    Args:
        arguments: This process's, among them the plugin's table of commands: base64 of JSON,
            from a task's number to its command, compressed by zlib, in hexadecimal.

    """
    task, first = (os.environ.get(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN"))
    options = [word for word in arguments if word.startswith(ARRAY_OPTION)]
    tables = [option.removeprefix(ARRAY_OPTION) for option in options]
    if not tables or task is None or task == first:
        return
    command = zlib.decompress(bytes.fromhex(json.loads(base64.b64decode(tables[0]))[task])).decode()
    sys.stdout.flush()
    os.execvp("sh", ["sh", "-c", command])


def keep_unanswered_jobs(executor: type[Any]) -> None:
    """Let the plugin's class of executors ask again about jobs that a query left out.

    The plugin forgets all jobs when Slurm's controller does not answer a query, and the run would
    then wait for them forever. Patching a class twice changes nothing.

    Args:
        executor: A class with ``check_active_jobs(active_jobs)``, an asynchronous generator of the
            jobs that still run, which reports the others by ``report_job_success(job, ...)`` or
            ``report_job_error(job, ...)``.

    """
    if getattr(executor, PATCHED, False):
        return
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
    setattr(executor, PATCHED, True)
