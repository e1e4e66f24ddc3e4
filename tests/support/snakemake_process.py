"""Snakemake as a fork of a process that has imported it, which spares each run over a second.

What runs is `main` of ``python -m snakemake``, in a folder and an environment of its own.
"""

import atexit
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["snakemake.cli", "snakemake.report.html_reporter"])


def run_snakemake(
    *arguments: str, folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake, and wait until nobody writes its output any more; stderr comes with stdout."""
    return SnakemakeProcess(*arguments, folder=folder, environment=environment).end()


class SnakemakeProcess:
    """Snakemake at work, in a process group of its own."""

    def __init__(
        self,
        *arguments: str,
        folder: Path,
        environment: Mapping[str, str],
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """Start Snakemake, after `prepare`, a function of some module, in the same process."""
        self.arguments = arguments
        self._reader, writer = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(
            target=_become_snakemake,
            args=(folder, dict(environment), _paths_of_python(), prepare, writer, *arguments),
        )
        self._process.start()
        writer.close()

    def end(self, seconds: float | None = None) -> subprocess.CompletedProcess[str]:
        """Wait until nobody writes its output any more; after `seconds` kill the whole group."""
        timer = threading.Timer(seconds, self._kill_group) if seconds is not None else None
        if timer is not None:
            timer.start()
        try:
            with self._reader, open(self._reader.fileno(), encoding="utf-8", closefd=False) as file:
                printed = file.read()
            self._process.join()
        except BaseException:
            self._kill_group()
            raise
        finally:
            if timer is not None:
                timer.cancel()
        status = self._process.exitcode
        assert status is not None
        return subprocess.CompletedProcess(self.arguments, status, printed)

    def kill(self) -> None:
        """Send SIGKILL to Snakemake and all its children, if it still runs, and wait for it."""
        if self._process.is_alive():
            self._kill_group()
            self._process.join()
        self._reader.close()

    def _kill_group(self) -> None:
        assert self._process.pid is not None
        # It has no group yet, or none any more.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()


@cache
def _paths_of_python() -> list[str]:
    """Return where this Python looks for modules when nobody adds a place."""
    command = [sys.executable, "-I", "-c", "import sys; print(*sys.path, sep='\\n')"]
    return subprocess.check_output(command, text=True).splitlines()


def _become_snakemake(
    folder: Path,
    environment: dict[str, str],
    paths: list[str],
    prepare: Callable[[], None] | None,
    output: Connection,
    *arguments: str,
) -> None:
    """Be ``python -m snakemake ARGUMENTS``, as it would be started in the folder."""
    from snakemake.cli import main  # noqa: PLC0415

    os.setsid()
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    added = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [str(folder), *added, *paths]
    specification = find_spec("snakemake.__main__")
    assert specification is not None
    sys.argv = [str(specification.origin), *arguments]
    if prepare is not None:
        prepare()
    try:
        main()
    finally:
        # A process of multiprocessing ends without this.
        atexit._run_exitfuncs()
