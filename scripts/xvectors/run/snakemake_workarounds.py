"""Workarounds for Snakemake itself. A test fails when the pinned version is another one."""

import threading

CHECKED_VERSION = "9.27.1"


def cancel_timers() -> None:
    """Cancel the timers of Snakemake's scheduler, so that its end does not wait for them.

    They belong to its limit of jobs per second, and last up to a second after the last job.
    """
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()
