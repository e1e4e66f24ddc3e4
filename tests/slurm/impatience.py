"""Snakemake asks Slurm for its jobs all the time.

Its plugin waits ten seconds longer after each query that finds no job's end. For a test, that would
be most of its time.
"""

import asyncio

from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

SECONDS_BETWEEN_QUERIES = 0.5


def ask_often() -> None:
    """Let every query come soon after the one before, in this process."""
    RemoteExecutor.sleep = _wait_shortly


async def _wait_shortly(executor: RemoteExecutor) -> None:
    await asyncio.sleep(SECONDS_BETWEEN_QUERIES)
