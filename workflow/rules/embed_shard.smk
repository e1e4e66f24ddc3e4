"""Embed the utterances of a shard.

Input: the plan, with the index shard that belongs to it, and the encoder. Output: an embedding per
utterance, and the done-marker, which is written last and is the only output that Snakemake knows.
"""

from snakemake.iocontainers import Wildcards
from xvectors.encoders.identity import collect_numerics
from xvectors.job.gpu_lease import processors_of_job
from xvectors.run import cluster_resources


def retries_of_shard() -> int | None:
    """Return how often a shard's job is tried again; None for what ``--retries`` says."""
    # Snakemake counts nodes only if jobs run elsewhere. There, nodes are lost, and jobs run out of
    # time and memory.
    return 2 if workflow.resource_settings.nodes is not None else None


def threads_of_shard(wildcards: Wildcards) -> int:
    """Return the number of processors of a shard's job: few shards get several each."""
    xvector = settings.xvector
    # `workflow.cores` raises an error without --cores.
    cores = workflow.resource_settings.cores
    # On a cluster, all jobs run at once, and each has what it asks for.
    is_here = workflow.is_main_process and workflow.resource_settings.nodes is None
    n_jobs = run.records.n_shards_to_run() if is_here else None
    return processors_of_job(xvector.device, xvector.jobs_per_gpu, cores, n_jobs)


def plan_of(wildcards: Wildcards) -> str:
    """Return the plan of a split. A job needs it, but its time does not matter."""
    look(wildcards)
    plan = str(layout.plan(wildcards.split))
    if workflow.is_main_process:
        run.records.split(wildcards.split)
        if layout.marker(wildcards.split, wildcards.shard) in run.records.stale:
            # Before the plan is made again, Snakemake does not see that a job behind an ancient
            # input is forced.
            return plan
    return ancient(plan)


rule embed_shard:
    """Embed a shard's missing and stale utterances with the configured provider and runner."""
    input:
        # Markers tell which shards a new plan has changed.
        plan=plan_of,
        encoder=str(layout.encoder),
    output:
        marker=str(layout.marker("{split}", "{shard}")),
    log:
        log_of("embed_shard", "{split}/{shard}"),
    benchmark:
        str(layout.benchmark("embed_shard", "{split}/{shard}"))
    retries: retries_of_shard()
    conda:
        "../../envs/xvectors.yaml"
    threads: threads_of_shard
    resources:
        # Only clusters use these.
        **cluster_resources.gpu(settings),
        mem_mb=lambda wildcards, attempt: cluster_resources.megabytes(attempt),
        cpus_per_task=cluster_resources.processors(settings),
        runtime=lambda wildcards, attempt: cluster_resources.minutes(settings, attempt),
    params:
        numerics=collect_numerics(settings),
    script:
        "../../scripts/embed_shard.py"
