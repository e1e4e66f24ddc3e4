"""Snakemake as a fork of a process that has imported it, which spares each run over a second.

What runs is `main` of ``python -m snakemake``, in a folder and an environment of its own.
"""

import atexit
import contextlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
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
    reader, writer = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(
        target=_become_snakemake,
        args=(arguments, folder, dict(environment), _paths_of_python(), writer),
    )
    process.start()
    writer.close()
    with reader, open(reader.fileno(), encoding="utf-8", closefd=False) as output:
        printed = output.read()
    process.join()
    return subprocess.CompletedProcess(arguments, process.exitcode or 0, printed)


@cache
def _paths_of_python() -> list[str]:
    """Return where this Python looks for modules when nobody adds a place."""
    command = [sys.executable, "-I", "-c", "import sys; print(*sys.path, sep='\\n')"]
    return subprocess.check_output(command, text=True).splitlines()


def _become_snakemake(
    arguments: tuple[str, ...],
    folder: Path,
    environment: dict[str, str],
    paths: list[str],
    output: Connection,
) -> None:
    """Be ``python -m snakemake ARGUMENTS``, as it would be started in the folder."""
    from snakemake.cli import main  # noqa: PLC0415

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
    with contextlib.ExitStack() as stack:
        # A process of multiprocessing ends without this.
        stack.callback(atexit._run_exitfuncs)
        main()
