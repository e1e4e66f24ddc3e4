"""Steps of a run as forks of processes that have imported what they need.

Importing its packages takes a step longer than its work on a small corpus. The server imports them
once. A step's script asks it for a process that runs the script instead, waits for
that process, and ends as it does. Where no server can be reached, a script runs by itself.

The server is a chain of processes. Each imports more than the one before, of which it is a fork.
So the steps that need little wait for few imports.

The server computes nothing, because threads do not survive a fork.
"""

import contextlib
import fcntl
import gc
import importlib
import json
import logging
import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

logger = logging.getLogger(__name__)

# Tells scripts where the server listens, and for which installation of Python.
VARIABLE = "XVECTORS_STEP_SERVER"
# Set by Snakemake for each job.
THREADS_VARIABLE = "OMP_NUM_THREADS"
ONE_THREAD = {THREADS_VARIABLE: "1", "OPENBLAS_NUM_THREADS": "1"}
# The message to a script that the process that runs it takes interrupts from now on.
BEGUN = b"b"
KILLED = 128 + signal.SIGKILL

# Where a process of the server listens, and the modules that it imports.
Stage = tuple[socket.socket, Sequence[str]]


class StepServer:
    """The server of a run, as its main process sees it."""

    def __init__(self, modules: Mapping[str, Sequence[str]], environment: dict[str, str]) -> None:
        """Start the server.

        Args:
            modules: For each process of the chain, by its name, the names of the modules that it
                imports, the first needed first.
            environment: Variables for these imports. Steps get their script's.

        """
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        try:
            self._start(modules, environment)
        except OSError as error:
            # For instance the temporary folder is full, or its path too long.
            logger.info("steps import their packages themselves: %s", error)

    def _start(self, modules: Mapping[str, Sequence[str]], environment: dict[str, str]) -> None:
        # Only this user may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="xvectors-"))
        with ExitStack() as opened:
            stages = []
            for name, names in modules.items():
                listener = opened.enter_context(socket.socket(socket.AF_UNIX))
                listener.bind(str(self._folder / name))
                listener.listen()
                stages.append((listener.fileno(), list(names)))
            # The server, which inherits this, ends with the run and not before.
            handle = signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__, json.dumps(stages)],
                    stdin=subprocess.PIPE,
                    pass_fds=[number for number, _ in stages],
                    # More threads would not survive a fork.
                    env=os.environ | ONE_THREAD | environment,
                )
            finally:
                signal.signal(signal.SIGINT, handle)
        os.environ[VARIABLE] = f"{self._folder}:{sys.prefix}"

    def stop(self) -> None:
        """Stop the server, after the processes of steps and the import that it is in."""
        if self._process is not None:
            os.environ.pop(VARIABLE, None)
            self._process.communicate()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def kill(self) -> None:
        """Stop the server without waiting for anything."""
        if self._process is not None:
            self._process.kill()
        self.stop()


def leave_server() -> None:
    """Keep this process, a job that may be on another machine, and its children from the server."""
    os.environ.pop(VARIABLE, None)


def hand_over(server: str) -> None:
    """Let a process of the run's server run this process's script, and exit as it does.

    Returns only if this process has no server. Until the server takes the script, an interrupt
    ends this process. After that, the process that runs the script handles it.
    """
    folder, _, prefix = os.environ.pop(VARIABLE, "").partition(":")
    if not folder or prefix != sys.prefix:
        return
    handle = signal.signal(signal.SIGINT, signal.SIG_DFL)
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(f"{folder}/{server}")
        except OSError:
            signal.signal(signal.SIGINT, handle)
            return
        request = {
            "arguments": sys.argv,
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
        }
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as answer:
            if answer.read(len(BEGUN)):
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            sys.exit(int(answer.read() or KILLED))


def serve(stages: Sequence[Stage], end: int) -> None:
    """Import the first stage's modules, and fork a process for each script, until `end` ends.

    A fork serves the other stages.
    """
    (listener, modules), *later = stages
    # The collector would go through all imports again and again, and write to pages that forks
    # share.
    gc.disable()
    for module in modules:
        if wait([end], timeout=0):
            return
        # A script that needs it says what is wrong.
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    if later:
        _fork(_serve_later, listener, later, end)
        for other, _ in later:
            other.close()
    processes: list[BaseProcess] = []
    while True:
        ready = wait([listener, end, *(process.sentinel for process in processes)])
        if listener in ready:
            connection, _ = listener.accept()
            with connection:
                processes.append(_fork(_run, listener, connection))
        elif end in ready:
            return
        processes = [process for process in processes if process.is_alive()]


def _serve_later(listener: socket.socket, stages: Sequence[Stage], end: int) -> None:
    listener.close()
    serve(stages, end)


def _fork(target: Callable[..., None], *arguments: object) -> BaseProcess:
    gc.freeze()
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process


def _run(listener: socket.socket, connection: socket.socket) -> None:
    """Run the script that a connection asks for, and answer with its exit status."""
    gc.enable()
    listener.close()
    with connection.makefile("rb") as lines:
        request = json.loads(lines.readline())
    _die_with(connection)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    connection.sendall(BEGUN)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]
    _use_threads(int(os.environ.get(THREADS_VARIABLE, "1")))
    status = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        status = _status(error.code)
    except BaseException:
        traceback.print_exc()
        status = 1
    connection.sendall(str(status).encode())


def _status(code: str | int | None) -> int:
    """Return the exit status that Python makes of what ``sys.exit`` was given."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
        return 1
    return code or 0


def _die_with(connection: socket.socket) -> None:
    """End this process as soon as the other end of a connection is closed."""
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    # The kernel sends SIGIO from now on, which ends a process.
    flags = fcntl.fcntl(connection, fcntl.F_GETFL)
    fcntl.fcntl(connection, fcntl.F_SETFL, flags | os.O_ASYNC)
    if wait([connection], timeout=0):
        # Its user has interrupted it.
        sys.exit(1)


def _use_threads(n_threads: int) -> None:
    """Let products use as many threads as if they had been given to this process at its start."""
    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_limits  # noqa: PLC0415

        threadpool_limits(n_threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n_threads)


if __name__ == "__main__":
    given = [(socket.socket(fileno=number), names) for number, names in json.loads(sys.argv[1])]
    # Forks have another stdin.
    serve(given, os.dup(sys.stdin.fileno()))
    for process in multiprocessing.active_children():
        process.join()
    # Do not take the modules apart.
    os._exit(0)
