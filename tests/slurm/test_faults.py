"""The workflow on the cluster, with faults that clusters have.

What matters is which job does what, so a small task takes the encoder's place.
"""

import re
import time
from collections import Counter

from xvectors.files.run_lock import SECONDS_BETWEEN_LOOKS

from .cluster import NODES, Cluster, wait_for
from .site import ALL_ONCE


def test_a_job_at_its_time_limit_or_cancelled_is_tried_again_and_the_next_run_does_what_is_left(
    gated,
):
    cluster = gated.cluster
    gated.start()
    jobs = set(gated.wait_for_jobs(2))
    attempt = min(jobs)
    # Unless it is to be on the CPU, each shard asks for a GPU.
    requests = description(cluster, attempt)
    assert "gres/gpu=1" in requests or "gpu:1" in requests
    limit = time_limit(cluster, attempt)
    cluster.reach_time_limit(attempt)
    cluster.wait_for_state(attempt, "TIMEOUT")
    # The rule has two retries.
    for n_attempts in (2, 3):
        (attempt,) = set(gated.wait_for_jobs(1 + n_attempts)) - jobs
        jobs.add(attempt)
        assert time_limit(cluster, attempt) == n_attempts * limit
        cluster.cancel(attempt)
        cluster.wait_for_state(attempt, "CANCELLED")
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


def test_after_snakemake_was_killed_no_two_jobs_do_the_same(gated):
    cluster = gated.cluster
    # There is a GPU for one of two jobs, each of one utterance.
    requests = (["--gpus=2", "--nodelist=n2"], ["--gpus=1", "--nodelist=n1"])
    others = [cluster.submit("sleep 1000", *options) for options in requests]
    for other in others:
        cluster.wait_for_state(other, "RUNNING")
    lines = gated.checkout.manifest.read_text().splitlines(keepends=True)
    gated.checkout.manifest.write_text("".join(lines[:2]))
    (gated.notes / "closed").touch()
    gated.start()
    (running,) = gated.wait_for_jobs(1)
    (pending,) = wait_for(lambda: cluster.jobs("--states=PENDING"), "a pending job")
    gated.kill_snakemake()
    lock = gated.checkout.out / ".lock"
    first = lock.read_text()
    gated.start()
    wait_for(lambda: lock.read_text() != first, "the second run")
    # The job in work looks at the lock again when it stores its embedding.
    time.sleep(SECONDS_BETWEEN_LOOKS)
    gated.open_gate()
    cluster.wait_for_state(running, "FAILED")
    cluster.cancel(*others)
    status, printed = gated.end()
    assert status == 0, printed
    # The one that was in work when the second run began is dropped there and done here.
    assert gated.times_done() == Counter({1: 1, 2: 1})
    assert "train: 2 embedded, 0 already embedded, 0 failed" in printed
    assert cluster.job(pending.job_id).state == "FAILED"


def test_a_silent_controller_loses_no_job(gated):
    gated.checkout.xvector["device"] = "cpu"
    gated.start()
    job, _ = gated.wait_for_jobs(2)
    # On the CPU, nobody asks for a GPU.
    assert "gpu" not in description(gated.cluster, job).lower()
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
