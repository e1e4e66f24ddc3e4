"""The cluster itself: the other tests of this folder stand on what is checked here."""

import subprocess
from pathlib import Path

import pytest

from .cluster import NODES, ClusterError, running_cluster, wait_for

CARD = "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"


def cards(cluster, *job_ids):
    """Return where jobs of the script CARD ran, on a node and a card."""
    return sorted(tuple(cluster.output_of(job_id).split()) for job_id in job_ids)


def test_both_nodes_are_idle(any_cluster):
    assert any_cluster.node_states() == {"n1": "idle", "n2": "idle"}


def test_each_job_has_a_card_of_its_own(any_cluster):
    script = f"{CARD}; sleep 1000"
    jobs = [any_cluster.submit(script, "--gpus=1") for _ in range(5)]
    for job in jobs[:4]:
        any_cluster.wait_for_state(job, "RUNNING")
    everything = [("n1", "0"), ("n1", "1"), ("n2", "0"), ("n2", "1")]
    wait_for(lambda: cards(any_cluster, *jobs[:4]) == everything, "a card for each job")
    assert any_cluster.job(jobs[4]).state == "PENDING"
    any_cluster.cancel(jobs[1])
    any_cluster.wait_for_state(jobs[1], "CANCELLED")
    any_cluster.wait_for_state(jobs[4], "RUNNING")


def test_a_job_without_a_card_sees_none(cluster):
    job = cluster.submit("echo [$CUDA_VISIBLE_DEVICES]")
    cluster.wait_for_state(job, "COMPLETED")
    assert cluster.output_of(job) == "[]\n"


def test_job_arrays(any_cluster):
    array = any_cluster.submit("exit $(($SLURM_ARRAY_TASK_ID - 1))", "--array=1-2")
    any_cluster.wait_for_state(f"{array}_1", "COMPLETED")
    any_cluster.wait_for_state(f"{array}_2", "FAILED")


def test_a_step_starts_in_a_job(cluster):
    # As Snakemake's plugin starts it, which takes away what tells of the cluster.
    job = cluster.submit(f"env -u SLURM_CONF srun --ntasks=1 sh -c '{CARD}'", "--gpus=1")
    cluster.wait_for_state(job, "COMPLETED")
    assert cluster.output_of(job) == "n1 0\n"


def test_accounting_knows_jobs_and_their_account(cluster_with_accounting):
    cluster = cluster_with_accounting
    array = cluster.submit("true", "--array=1-2")
    expected = {f"{array}_1": "COMPLETED", f"{array}_2": "COMPLETED"}
    wait_for(lambda: cluster.account_states(array) == expected, "the end of both in sacct")
    accounts = cluster.run("sacct", "--noheader", "--allocations", "--format=Account")
    assert set(accounts.split()) == {"speech"}
    with pytest.raises(ClusterError, match="Invalid account"):
        cluster.submit("true", "--account=other")


def test_without_accounting_there_is_no_sacct(cluster):
    with pytest.raises(ClusterError, match="accounting storage is disabled"):
        cluster.run("sacct")


def test_memory_is_limited(cluster):
    script = "python3 -c 'x = bytearray(10**9); import time; time.sleep(1000)'"
    job = cluster.submit(script, "--mem=100")
    # It would be OUT_OF_MEMORY if the kernel had killed it, for which Slurm needs control groups.
    cluster.wait_for_state(job, "FAILED")
    assert "Exceeded job memory limit" in cluster.output_of(job)


def test_a_lost_node_takes_its_jobs_along(any_cluster):
    cluster = any_cluster
    gone = cluster.submit("sleep 1000", "--nodelist=n1", "--no-requeue")
    again = cluster.submit("sleep 1000", "--nodelist=n1", "--requeue")
    other = cluster.submit("sleep 1000", "--nodelist=n2")
    for job in (gone, again, other):
        cluster.wait_for_state(job, "RUNNING")
    cluster.kill_node("n1")
    assert cluster.processes_of("n1") == []
    cluster.notice_loss("n1")
    cluster.wait_for_state(gone, "NODE_FAIL")
    cluster.wait_for_state(again, "PENDING")
    assert cluster.job(other).state == "RUNNING"
    cluster.start_node("n1")
    assert cluster.node_states()["n1"] == "idle"


def test_a_time_limit_ends_a_job_and_a_node_that_does_not_answer_is_down_by_itself(cluster):
    job = cluster.submit(
        "trap 'echo asked to end; exit 1' TERM; sleep 1000 & wait", "--nodelist=n2"
    )
    cluster.wait_for_state(job, "RUNNING")
    # Each takes Slurm up to half a minute.
    cluster.reach_time_limit(job)
    cluster.kill_node("n1")
    cluster.wait_for_state(job, "TIMEOUT")
    wait_for(lambda: cluster.node_states()["n1"] == "down*", "n1 being down")
    assert "DUE TO TIME LIMIT" in cluster.output_of(job)
    assert "asked to end" in cluster.output_of(job)


def test_a_job_outlives_the_daemon_of_its_node(cluster):
    job = cluster.submit("sleep 1000", "--nodelist=n1")
    cluster.wait_for_state(job, "RUNNING")
    cluster.kill_daemon_of("n1")
    cluster.start_node("n1")
    assert cluster.job(job).state == "RUNNING"


def test_the_controller_can_be_silent(cluster):
    command = ["squeue", "--noheader"]
    with cluster.silent_controller():
        asked = subprocess.Popen(command, env=cluster.environment(), stdout=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            asked.wait(timeout=1)
    assert asked.wait(timeout=30) == 0


def test_nothing_is_left(slurm_packages):
    with running_cluster() as cluster:
        for node in NODES:
            job = cluster.submit("sleep 1000 & exec sleep 1000", f"--nodelist={node}")
            cluster.wait_for_state(job, "RUNNING")
        assert all(cluster.processes_of(node) for node in NODES)
    assert cluster.processes() == []
    assert not Path(cluster.root).exists()
