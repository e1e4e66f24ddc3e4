"""The long form of the fault suite: ``make soak ROUNDS=200 SEED=1``, or ``MINUTES=30``.

A round injects a fault of every kind that this machine allows, in random order, those to a single
job several times, as they cost a second each. After each the same command must complete with the
vectors of an undisturbed run. It prints what was injected and what it cost as a table.
"""

import argparse
import datetime
import os
import platform
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .faults import FAULTS
from .fork_server import ForkServer
from .harness import FaultError, Harness

# What a job alone can suffer is injected so often per round.
JOB_FAULTS_PER_ROUND = 20
STORAGES = ("files", "packed")


def main() -> None:
    """Inject faults until rounds or minutes are over; the status is 1 if one did harm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, help="1, or as many as fit into the minutes")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="faults that this regular expression finds")
    arguments = parser.parse_args()
    began = time.monotonic()
    soak = Soak(arguments.seed, arguments.only)
    with tempfile.TemporaryDirectory() as folder, ForkServer() as fork_server:
        Path(folder).chmod(0o755)
        undisturbed = [
            Harness(_made(Path(folder) / storage), fork_server, arguments.seed, storage)
            for storage in STORAGES
        ]
        n_rounds = arguments.rounds or (1 if arguments.minutes == float("inf") else sys.maxsize)
        for number in range(n_rounds):
            if time.monotonic() - began > 60 * arguments.minutes:
                break
            seed = arguments.seed + number
            scenes = [
                harness.copied(Path(folder) / f"{harness.root.name}{number}", seed)
                for harness in undisturbed
            ]
            for kind in soak.kinds():
                if time.monotonic() - began > 60 * arguments.minutes:
                    break
                i = soak.random.randrange(len(scenes))
                if not soak.inject(kind, scenes[i]):
                    root = _made(scenes[i].root)
                    scenes[i] = undisturbed[i].copied(root, soak.random.randrange(10**6))
            for harness in scenes:
                shutil.rmtree(harness.root)
    soak.report((time.monotonic() - began) / 60)
    sys.exit(1 if soak.harms else 0)


class Soak:
    """Faults injected so far, and the harm that they did."""

    def __init__(self, seed: int, only: str) -> None:
        """Have injected none."""
        self.seed = seed
        self.only = re.compile(only)
        self.random = random.Random(seed)
        self.n_injected: Counter[str] = Counter()
        self.n_struck: Counter[str] = Counter()
        self.n_utterances = 0
        self.harms: Counter[tuple[str, str]] = Counter()

    def kinds(self) -> list[str]:
        """Return the kinds of a round's faults, in random order."""
        kinds = []
        for kind, fault in FAULTS.items():
            can = os.geteuid() == 0 or not fault.needs_root
            if can and self.only.search(kind):
                kinds += [kind] * (1 if fault.by_snakemake else JOB_FAULTS_PER_ROUND)
        self.random.shuffle(kinds)
        return kinds

    def inject(self, kind: str, harness: Harness) -> bool:
        """Inject a fault, let the same command complete, and tell whether there was no harm."""
        fault = FAULTS[kind]
        self.n_injected[kind] += 1
        try:
            self.n_struck[kind] += fault.inject(harness)
            if fault.by_snakemake:
                harness.finish()
            else:
                harness.finish_jobs()
        except FaultError as error:
            harm = str(error).partition(":")[0].splitlines()[0]
            self.harms[kind, harm] += 1
            print(f"\n{kind}, {harness.checkout.xvector['storage']}: {error}\n", flush=True)
            return False
        self.n_utterances += len(harness.expected)
        storage = harness.checkout.xvector["storage"]
        print(f"{sum(self.n_injected.values())} {kind}, {storage}", flush=True)
        return True

    def report(self, minutes: float) -> None:
        """Print the counts as a table in Markdown."""
        n_lost = sum(n for (_, harm), n in self.harms.items() if harm == "lost")
        n_wrong = sum(n for (_, harm), n in self.harms.items() if harm in ("wrong", "cut off"))
        print(f"\n{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, ", end="")
        print(f"seed {self.seed}, {minutes:.0f} minutes\n")
        print("| fault | injected | struck | harm |\n|---|---|---|---|")
        for kind, n_injected in sorted(self.n_injected.items()):
            n_harms = sum(n for (of, _), n in self.harms.items() if of == kind)
            print(f"| {kind} | {n_injected} | {self.n_struck[kind]} | {n_harms} |")
        print(
            f"| **all** | **{self.n_injected.total()}** | **{self.n_struck.total()}** "
            f"| **{self.harms.total()}** |\n\n{self.n_utterances} utterances checked against the "
            f"undisturbed run; lost: {n_lost}, wrong: {n_wrong}."
        )
        for (kind, harm), n in self.harms.items():
            print(f"- {kind}: {harm} ({n})")


def _made(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
