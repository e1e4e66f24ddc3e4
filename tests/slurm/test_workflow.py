"""The workflow on the cluster, as a user runs it, with faults that clusters have.

What matters in the faults is which job does what, so a small task takes the encoder's place: it
notes every utterance that it finishes, and waits where a test wants it to.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.checkout import PROVIDER, Checkout
from tests.support.containers import pack_manifest
from tests.support.snakemake_process import SnakemakeProcess

from .cluster import NODES, Cluster, wait_for
from .impatience import ask_often

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
    """A checkout on a cluster."""

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


@pytest.fixture
def gated(checkout: Checkout, cluster: Cluster) -> Iterator[Site]:
    """A site without accounting whose jobs, two of four utterances, wait after the first one."""
    yield from gated_on(checkout, cluster)


@pytest.fixture
def gated_with_accounting(checkout: Checkout, cluster_with_accounting: Cluster) -> Iterator[Site]:
    """The same with accounting."""
    yield from gated_on(checkout, cluster_with_accounting)


def gated_on(checkout: Checkout, cluster: Cluster) -> Iterator[Site]:
    checkout.use_task(TASK, pretrained_model=None, batch_size=None)
    site = Site(checkout, cluster)
    site.notes.mkdir()
    yield site
    site.kill_snakemake()


ALL_ONCE = Counter({1: 8})
IN_ARRAYS = "--slurm-array-jobs=embed_shard"


# Jobs one by one and without accounting are those of all tests below.
def test_embeddings_of_containers_equal_those_of_files(checkout, embedded, cluster_with_accounting):
    pack_manifest(checkout.manifest, ["tar", "parquet"])
    status, printed = Site(checkout, cluster_with_accounting).run(IN_ARRAYS)
    assert status == 0, printed
    found, expected = checkout.vectors(), embedded.vectors()
    assert found.keys() == expected.keys()
    for utt_id, vector in found.items():
        assert torch.allclose(vector, expected[utt_id], atol=1e-6 * float(vector.abs().max()))


def test_each_job_has_a_gpu_at_a_site_with_accounting(gated_with_accounting):
    check_that_each_job_has_a_gpu(gated_with_accounting)


def test_each_job_of_an_array_has_a_gpu(gated):
    check_that_each_job_has_a_gpu(gated, IN_ARRAYS)


def check_that_each_job_has_a_gpu(site: Site, *arguments: str) -> None:
    """Run four jobs at once, which need all GPUs, and run again."""
    site.checkout.xvector["n_shards"] = 4
    site.start(*arguments)
    site.wait_for_jobs(4)
    site.open_gate()
    status, printed = site.end()
    assert status == 0, printed
    assert site.places() == {(gpu, node) for gpu in "01" for node in NODES}
    assert site.times_done() == ALL_ONCE
    status, printed = site.run(*arguments)
    assert status == 0, printed
    assert "Nothing to be done" in printed


def test_a_cancelled_job_is_tried_again_and_what_it_left_is_done_by_the_next_run(gated):
    gated.checkout.xvector["device"] = "cpu"
    gated.start()
    jobs = set(gated.wait_for_jobs(2))
    attempt = min(jobs)
    assert "gpu" not in description(gated.cluster, attempt).lower()
    # The rule has two retries.
    for n_jobs in (3, 4):
        gated.cluster.cancel(attempt)
        (attempt,) = set(gated.wait_for_jobs(n_jobs)) - jobs
        jobs.add(attempt)
    gated.cluster.cancel(attempt)
    gated.cluster.wait_for_state(attempt, "CANCELLED")
    gated.open_gate()
    status, printed = gated.end()
    assert status != 0
    assert "1 of 2 shards not done" in printed
    assert re.search(
        r"train \d-of-2: not done, see out/tag/.logs/embed_shard/train/\d-of-2.log", printed
    )
    status, printed = gated.run()
    assert status == 0, printed
    assert re.search(r"train: [12] embedded, [67] already embedded, 0 failed", printed)
    assert gated.times_done() == ALL_ONCE


def test_the_jobs_of_a_lost_node_go_to_another(gated):
    gated.start()
    jobs = gated.wait_for_jobs(2)
    node = gated.cluster.job(jobs[0]).nodes
    gated.cluster.kill_node(node)
    gated.cluster.notice_loss(node)
    lost = sum(gated.cluster.job(job).state == "NODE_FAIL" for job in jobs)
    gated.wait_for_jobs(2 + lost)
    gated.open_gate()
    status, printed = gated.end()
    assert status == 0, printed
    assert gated.times_done() == ALL_ONCE
    (left,) = set(NODES) - {node}
    assert left in {place for _, place in gated.places()}


def test_a_job_at_its_time_limit_goes_on_where_it_stopped(gated):
    gated.start()
    job, other = gated.wait_for_jobs(2)
    requests = description(gated.cluster, job)
    assert "gres/gpu=1" in requests or "gpu:1" in requests
    limit = time_limit(gated.cluster, job)
    gated.cluster.reach_time_limit(job)
    gated.cluster.wait_for_state(job, "TIMEOUT")
    (new,) = set(gated.wait_for_jobs(3)) - {job, other}
    assert time_limit(gated.cluster, new) == 2 * limit
    gated.open_gate()
    status, printed = gated.end()
    assert status == 0, printed
    assert gated.times_done() == ALL_ONCE
    status, printed = gated.run()
    assert status == 0, printed
    assert "Nothing to be done" in printed


def description(cluster: Cluster, job: str) -> str:
    """Return what Slurm says of a job and its requests."""
    return cluster.run("scontrol", "show", "job", job)


def time_limit(cluster: Cluster, job: str) -> int:
    """Return a job's time limit in minutes."""
    said = description(cluster, job)
    limit = re.search(r"TimeLimit=(\d+):(\d+):00", said)
    assert limit is not None, said
    return 60 * int(limit.group(1)) + int(limit.group(2))


def test_after_snakemake_was_killed_no_two_jobs_do_the_same(gated):
    # Two jobs of one utterance run, and one has to wait.
    other = gated.cluster.submit("sleep 1000", "--gpus=2", "--nodelist=n2")
    gated.cluster.wait_for_state(other, "RUNNING")
    lines = gated.checkout.manifest.read_text().splitlines(keepends=True)
    gated.checkout.manifest.write_text("".join(lines[:3]))
    gated.checkout.xvector["n_shards"] = 3
    (gated.notes / "closed").touch()
    gated.start()
    gated.wait_for_jobs(2)
    (pending,) = wait_for(lambda: gated.cluster.jobs("--states=PENDING"), "a pending job")
    gated.kill_snakemake()
    lock = gated.checkout.out / ".lock"
    first = lock.read_text()
    gated.start()
    wait_for(lambda: lock.read_text() != first, "the second run")
    gated.open_gate()
    status, printed = gated.end()
    assert status == 0, printed
    # The two that were in work when the second run began are dropped there and done here.
    assert gated.times_done() == Counter({1: 1, 2: 2})
    assert "train: 3 embedded, 0 already embedded, 0 failed" in printed
    assert gated.cluster.job(pending.job_id).state == "FAILED"


def test_a_silent_controller_loses_no_job(gated):
    gated.start()
    gated.wait_for_jobs(2)
    with gated.cluster.silent_controller(patience=1):
        unanswered = set()

        def enough() -> bool:
            unanswered.update(gated.status_queries())
            return len(unanswered - set(gated.status_queries())) >= 6

        wait_for(enough, "six status queries without an answer", 180)
    gated.open_gate()
    status, printed = gated.end()
    assert status == 0, printed
    assert gated.times_done() == ALL_ONCE
