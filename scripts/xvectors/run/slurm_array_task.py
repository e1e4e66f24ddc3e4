"""Job arrays of Snakemake's Slurm plugin: each task runs its own command, and only that."""

import base64
import json
import os
import sys
import zlib

OPTION = "--slurm-jobstep-array-execs="


def become_own_task(arguments: list[str]) -> None:
    """Replace this process by the command of the array task that it is, if it is one.

    The plugin (2.8.0) starts every task of an array as the first one, which runs the task's own
    command in a process of its own and then expects the first task's output: all others fail
    when that takes longer than a few seconds.

    Args:
        arguments: This process's, among them the plugin's table of commands: base64 of JSON,
            from a task's number to its command, compressed by zlib, in hexadecimal.

    """
    task, first = (os.environ.get(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN"))
    tables = [word.removeprefix(OPTION) for word in arguments if word.startswith(OPTION)]
    if not tables or task is None or task == first:
        return
    command = zlib.decompress(bytes.fromhex(json.loads(base64.b64decode(tables[0]))[task])).decode()
    sys.stdout.flush()
    os.execvp("sh", ["sh", "-c", command])
