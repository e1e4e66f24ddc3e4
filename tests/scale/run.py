"""Benchmark of size: what every step costs for each utterance, in time and in memory.

Run it as ``make scale``, or ``python -m tests.scale.run 10000 100000`` for other sizes; 10^7
utterances need ``--storage packed``, as so many files would need 40 GB. Every step is a process of
its own. Its time is an upper bound where others use the machine; its memory is that of the largest
of its processes, as the kernel counts it, and exact.

This process must stay small: a child's peak memory is at least what its parent had.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.scale.corpus import make_manifest

REPOSITORY = Path(__file__).resolve().parents[2]
SIZES = (10_000, 100_000, 1_000_000)
UTTERANCES_OF_SHARD = 10_000
CORES = len(os.sched_getaffinity(0))
SPLIT = "train"
# What is measured, and the step, or Snakemake with its options, that it is.
STEPS = {
    "start Python": ["start"],
    "check the manifest": ["check"],
    "split it": ["split"],
    "split it again": ["split"],
    "fetch the encoder": ["fetch"],
    "embed one shard": ["embed"],
    "find it embedded": ["embed"],
    "pretend all the rest": ["pretend"],
    "snakemake -n": ["snakemake", "-n", "--quiet"],
    "snakemake": ["snakemake"],
    "snakemake, all done": ["snakemake"],
    "hold against files": ["retract"],
    "collect": ["collect"],
    "average speakers": ["average"],
    "draw the report": ["report"],
    "export to Kaldi": ["kaldi"],
    "export to Parquet": ["parquet"],
    "export to safetensors": ["safetensors"],
}
# A safetensors file has room for about a million names.
MAY_BE_REFUSED = {"export to safetensors"}


class Cost(NamedTuple):
    """What a step took: wall and processor time in seconds, and its peak memory in bytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    refused: str | None = None

    def __str__(self) -> str:
        """Return the cost as a cell of a table."""
        times = f"{self.seconds:.1f} s ({self.cpu_seconds:.1f} s)"
        return "refused" if self.refused else f"{times}, {self.peak_bytes / 1e6:.0f} MB"


class Bench:
    """A corpus of a size, and the folder in which the workflow runs on it."""

    def __init__(self, root: Path, n_utterances: int, storage: str) -> None:
        """Make the corpus and the configuration below `root`."""
        self.root = root
        manifest = make_manifest(root / "corpus", n_utterances)
        (root / "encoder").mkdir()
        (root / "encoder" / "hyperparams.yaml").write_text("null: true\n")
        xvector = {
            "pretrained_model": str(root / "encoder"),
            "spk_embed_tag": "tag",
            "save_path": str(root / "out"),
            "n_shards": -(-n_utterances // UTTERANCES_OF_SHARD),
            "splits": [SPLIT],
            "manifest_paths": {SPLIT: str(manifest)},
            "provider": "tests.scale.null.NullProvider",
            "storage": storage,
        }
        self.config = root / "config.yaml"
        # JSON is YAML, too.
        self.config.write_text(json.dumps({"xvector": xvector}))

    def measure(self, names: Sequence[str] = tuple(STEPS)) -> Iterator[tuple[str, Cost]]:
        """Run steps one after the other, and yield their names and costs."""
        for name in names:
            yield name, self._run(*STEPS[name], may_be_refused=name in MAY_BE_REFUSED)

    def _run(self, step: str, *options: str, may_be_refused: bool = False) -> Cost:
        command = [sys.executable, "-m", "tests.scale.steps", step, str(self.config)]
        if step == "snakemake":
            snakefile = ["--snakefile", str(REPOSITORY / "Snakefile")]
            command = [sys.executable, "-m", "snakemake", *snakefile, "--cores", str(CORES)]
            command += ["--directory", str(self.root), "--configfile", str(self.config), *options]
        path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "scripts")])
        log = self.root / "log"
        with log.open("w") as file:
            started = time.monotonic()
            process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": path},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.monotonic() - started
        text = log.read_text(errors="replace")
        if process.returncode and not may_be_refused:
            raise RuntimeError(f"{' '.join(command)}\n{text}")
        return Cost(
            round(seconds, 3),
            round(usage.ru_utime + usage.ru_stime, 3),
            usage.ru_maxrss * 1024,
            text.splitlines()[-1] if process.returncode else None,
        )


def slopes(costs: Sequence[tuple[int, float]]) -> list[float]:
    """Return the cost of each further utterance, from each size to the next one."""
    return [(cost - less) / (n - fewer) for (fewer, less), (n, cost) in pairwise(costs)]


def summarize(costs: Mapping[int, Mapping[str, Cost]]) -> dict[str, dict[str, list[float]]]:
    """Return for each step what a further utterance costs, in microseconds and in bytes."""
    found = {}
    for name in STEPS:
        by_size = [(n, of[name]) for n, of in costs.items() if name in of and not of[name].refused]
        found[name] = {
            "microseconds": [1e6 * one for one in slopes([(n, c.seconds) for n, c in by_size])],
            "cpu_microseconds": [
                1e6 * one for one in slopes([(n, c.cpu_seconds) for n, c in by_size])
            ],
            "bytes": slopes([(n, c.peak_bytes) for n, c in by_size]),
        }
    return found


def table(costs: Mapping[int, Mapping[str, Cost]]) -> Iterator[str]:
    """Yield the lines of a Markdown table: wall time (processor time), peak memory, slopes."""
    found = summarize(costs)
    header = ["", *(f"{n:,}" for n in costs), "CPU us each", "bytes each"]
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for name, slope in found.items():
        cells = [f"{of[name]}" if name in of else "" for of in costs.values()]
        for kind, form in (("cpu_microseconds", ".3g"), ("bytes", ".0f")):
            cells.append(" / ".join(f"{one:{form}}" for one in slope[kind]))
        if any(cells):
            yield f"| {' | '.join([name, *cells])} |"


def main() -> None:
    """Run the benchmark, and print and write its results after each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", type=int, nargs="*", default=SIZES, help="utterances")
    parser.add_argument("--storage", choices=["files", "packed"], default="files")
    parser.add_argument("--folder", type=Path, help="where to work, else where temporary files go")
    parser.add_argument("--output", type=Path, help="write the results there, as JSON")
    arguments = parser.parse_args()
    costs: dict[int, dict[str, Cost]] = {}
    for n_utterances in sorted(arguments.sizes):
        costs[n_utterances] = {}
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            bench = Bench(Path(folder), n_utterances, arguments.storage)
            for name, cost in bench.measure():
                costs[n_utterances][name] = cost
                print(f"{n_utterances} {name}: {cost}", file=sys.stderr, flush=True)
        if arguments.output:
            results = {
                "date": str(date.today()),
                "machine": f"{CORES} cores, {platform.platform()}",
                "command": " ".join(["python", "-m", "tests.scale.run", *sys.argv[1:]]),
                "costs": {
                    n: {name: cost._asdict() for name, cost in of.items()}
                    for n, of in costs.items()
                },
                "of_each_further_utterance": summarize(costs),
            }
            arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(*table(costs), sep="\n")


if __name__ == "__main__":
    main()
