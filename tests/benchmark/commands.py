"""Whole commands, from the start of a process to its end, against SpeechBrain's own loop.

Prints a table of medians for small corpora of short recordings, in brackets the time of all
processors together.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy
from corpus import REPOSITORY, make_full_size_encoder, write_manifests, write_speech

SECONDS = 0.4
CORES = 2


class Case(NamedTuple):
    """A corpus of so many recordings in all, in so many splits."""

    n_recordings: int
    n_splits: int

    def __str__(self) -> str:
        """Return it in words."""
        splits = "one split" if self.n_splits == 1 else f"{self.n_splits} splits"
        return f"{self.n_recordings} recordings in {splits}"


CASES = (Case(60, 1), Case(60, 3), Case(600, 1), Case(2400, 1))


def write_case(folder: Path, case: Case, encoder: Path) -> None:
    """Write a corpus, its manifests, and the configuration for it."""
    paths = write_speech(folder / "wav", numpy.full(case.n_recordings, SECONDS))
    write_manifests(folder, paths, case.n_splits)
    write_manifests(folder / "all", paths, 1)
    splits = [f"part{number}" for number in range(case.n_splits)]
    settings = {
        "pretrained_model": str(encoder),
        "device": "cpu",
        "spk_embed_tag": "tag",
        "save_path": str(folder / "out"),
        "splits": splits,
        "manifest_paths": {split: str(folder / f"{split}.tsv") for split in splits},
    }
    # JSON is YAML.
    (folder / "my.yaml").write_text(json.dumps({"xvector": settings}), encoding="utf-8")


class Spent(NamedTuple):
    """Seconds of a command, and of all processors for it, with everything that it starts."""

    wall: float
    processors: float


def run_loop(folder: Path, encoder: Path) -> Spent:
    """Return what SpeechBrain's loop over all recordings takes."""
    output = folder / "loop"
    output.mkdir()
    script = Path(__file__).with_name("candidate.py")
    command = [sys.executable, str(script), "loop", "--encoder", str(encoder)]
    command += ["--manifest", str(folder / "all" / "part0.tsv"), "--threads", str(CORES)]
    seconds = timed(command, f"{output}\n")
    shutil.rmtree(output)
    return seconds


def run_workflow(folder: Path, repository: Path) -> tuple[Spent, Spent]:
    """Return what a checkout's command takes, and the same command once more."""
    command = [sys.executable, "-m", "snakemake", "-s", str(repository / "Snakefile")]
    command += ["--cores", str(CORES), "--configfile", "my.yaml"]
    command += ["--directory", str(folder)]
    seconds = timed(command, cwd=folder), timed(command, cwd=folder)
    shutil.rmtree(folder / "out")
    shutil.rmtree(folder / ".snakemake")
    return seconds


def timed(command: Sequence[str], given: str = "", cwd: Path | None = None) -> Spent:
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, input=given, cwd=cwd, text=True, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processors = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(time.monotonic() - begun, processors)


def measure(case: Case, encoder: Path, n_rounds: int, repository: Path) -> str:
    """Return a line of the table for a case."""
    loops, runs, repeats = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_case(folder, case, encoder)
        for _ in range(n_rounds):
            loops.append(run_loop(folder, encoder))
            run, again = run_workflow(folder, repository)
            runs.append(run)
            repeats.append(again)
    ratio = statistics.median(loop.wall / run.wall for loop, run in zip(loops, runs, strict=True))
    loop, run, again = map(in_words, (loops, runs, repeats))
    return f"| {case} | {loop} | {run} | {ratio:.2f} | {again} |"


def in_words(spent: Sequence[Spent]) -> str:
    wall, processors = (statistics.median(one) for one in zip(*spent, strict=True))
    return f"{wall:.1f} s ({processors:.1f} s)"


def main() -> None:
    """Measure all cases, or one of them."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recordings", type=int, help="only the cases of so many recordings")
    parser.add_argument("--splits", type=int, help="only the cases of so many splits")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="another checkout")
    arguments = parser.parse_args()
    print("| corpus | SpeechBrain's loop | workflow | ratio | nothing to do |")
    print("|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        encoder = Path(name) / "encoder"
        make_full_size_encoder(encoder)
        for case in CASES:
            wanted = (arguments.recordings, arguments.splits)
            if all(one in (None, has) for one, has in zip(wanted, case, strict=True)):
                line = measure(case, encoder, arguments.rounds, arguments.repository)
                print(line, flush=True)


if __name__ == "__main__":
    main()
