"""Shard jobs as forks of a process that has imported everything, so that one takes no seconds.

``python -m tests.faults.fork_server`` takes requests, lines of JSON, from stdin and answers each
with a line on stdout. It never computes itself, as PyTorch's threads do not survive a fork.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What a job imports when it first needs it.
LATE_IMPORTS = (
    "torchaudio",
    "hyperpyyaml",
    "xvectors.encoders.encoder",
    "xvectors.encoders.speechbrain.encoder",
)
NOBODY = 65534


@dataclass(frozen=True)
class Job:
    """A shard job: where it runs, what it is told, and what is done to its process.

    `limits` are soft and hard limits by the name of a resource, RLIMIT_NOFILE say. `user` is a
    user's id.
    """

    folder: str
    xvector: dict[str, Any]
    shard: str
    output: str
    environment: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    user: int | None = None


class ForkServer:
    """Starts jobs and waits for them; use it as a context manager."""

    def __enter__(self) -> "ForkServer":
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.fork_server"],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()

    def start(self, job: Job) -> int:
        """Start a job in a process group of its own, and return its process id."""
        return self._ask("start", vars(job))

    def wait(self, process_id: int) -> int:
        """Wait for a job, and return its exit status, negative for a signal."""
        return self._ask("wait", process_id)

    def _ask(self, what: str, about: Any) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([what, about]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def _run(job: Job) -> None:
    """Do as Snakemake's job does: chdir, the rule's script."""
    from xvectors.config.resolving import resolve_config  # noqa: PLC0415
    from xvectors.job.shard_job import embed_shard  # noqa: PLC0415
    from xvectors.run.script_log import script_log  # noqa: PLC0415

    os.setsid()
    os.chdir(job.folder)
    config = resolve_config({"xvector": job.xvector})
    output = os.open(job.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    os.environ.update(job.environment)
    for name, limit in job.limits.items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    if job.user is not None:
        os.setgroups([])
        os.setgid(job.user)
        os.setuid(job.user)
    with script_log(f"{job.output}.log"):
        embed_shard(config, "train", job.shard, time.monotonic(), 1)


def _fork(job: Job) -> int:
    process_id = os.fork()
    if process_id:
        return process_id
    status = 1
    try:
        _run(job)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Nothing else may come between the answers.
    for module in LATE_IMPORTS:
        importlib.import_module(module)
    importlib.import_module("torch").set_num_threads(1)
    for line in sys.stdin:
        what, about = json.loads(line)
        if what == "start":
            answer = _fork(Job(**about))
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(about, 0)[1])
        answers.write(f"{answer}\n")
        answers.flush()


if __name__ == "__main__":
    main()
