"""A checkout on a cluster, whose jobs do what a test wants to see."""

import re
from collections import Counter
from pathlib import Path

from tests.support.checkout import PROVIDER, Checkout
from tests.support.snakemake_process import SnakemakeProcess

from .cluster import Cluster, wait_for
from .impatience import ask_often

# Notes every utterance that it finishes, and waits where a test wants it to.
TASK = (
    PROVIDER
    + """
import os
import time

import numpy

NOTES = Path("notes")


class Runner(BaseRunner):
    @staticmethod
    def output_path(output_dir, utt_id):
        return output_dir / f"{utt_id}.npy"

    @staticmethod
    def check_output(path):
        numpy.load(path)

    @staticmethod
    def forward(idx, manifest, output_dir, done):
        utt_id = manifest.utterances[idx].utt_id
        job = os.environ["SLURM_JOB_ID"]
        if done or (NOTES / "closed").exists():
            # The first utterance may pass; the others come when the gate is open.
            (NOTES / f"waiting-{job}").touch()
            while not (NOTES / "open").exists():
                time.sleep(0.05)
        numpy.save(output_dir / f"{utt_id}.npy", numpy.ones(3))
        with (NOTES / utt_id).open("a") as note:
            note.write(f"{job}\\n")
        done.append(utt_id)
"""
)


class Site:
    """The user's command and its jobs."""

    def __init__(self, checkout: Checkout, cluster: Cluster) -> None:
        self.checkout = checkout
        self.cluster = cluster
        self.notes = checkout.root / "notes"
        self.process: SnakemakeProcess | None = None

    def start(self, *arguments: str) -> None:
        """Start the user's command."""
        self.checkout.write_config()
        command = ["--executor", "slurm", "--jobs", "100", "--configfile", "my.yaml", *arguments]
        self.process = SnakemakeProcess(
            *command,
            "--slurm-init-seconds-before-status-checks=1",
            folder=self.checkout.root,
            environment={**self.cluster.environment(), "PYTHONPATH": str(self.checkout.root)},
            prepare=ask_often,
        )

    def end(self) -> tuple[int, str]:
        """Wait for the command, and return its status and what it printed."""
        assert self.process is not None
        ended = self.process.end(seconds=400)
        return ended.returncode, ended.stdout

    def run(self, *arguments: str) -> tuple[int, str]:
        self.start(*arguments)
        return self.end()

    def kill_snakemake(self) -> None:
        """Kill the command if it still runs; its jobs go on."""
        if self.process is not None:
            self.process.kill()

    def waiting_jobs(self) -> list[str]:
        """Return the jobs that wait at the gate."""
        return [path.name.removeprefix("waiting-") for path in self.notes.glob("waiting-*")]

    def wait_for_jobs(self, n_jobs: int) -> list[str]:
        """Wait until `n_jobs` jobs wait at the gate, and return them."""
        wait_for(lambda: len(self.waiting_jobs()) >= n_jobs, f"{n_jobs} jobs at the gate", 120)
        return self.waiting_jobs()

    def open_gate(self) -> None:
        (self.notes / "open").touch()

    def times_done(self) -> Counter[int]:
        """Return how many utterances were finished once, twice, ..."""
        notes = [path for path in self.notes.iterdir() if path.name.count("_")]
        return Counter(len(path.read_text().splitlines()) for path in notes)

    def status_queries(self) -> list[int]:
        """Return the processes that ask Slurm how jobs do, at this moment."""
        queries = []
        for process in self.cluster.processes():
            try:
                name = Path(f"/proc/{process}/comm").read_text().strip()
            except OSError:
                continue
            if name in {"squeue", "sacct", "scontrol"}:
                queries.append(process)
        return queries

    def places(self) -> set[tuple[str, str]]:
        """Return the GPUs and nodes on which the shards say that they ran."""
        logs = self.checkout.out.glob(".logs/embed_shard/train/*.log")
        printed = "".join(path.read_text() for path in logs)
        return set(re.findall(r"train \d-of-\d: on GPU (\d) of (n\d)", printed))


# What `Site.times_done` says when all went well.
ALL_ONCE = Counter({1: 8})
