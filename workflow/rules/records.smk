"""The state of the output folder, told to Snakemake while it builds its graph.

A run reads plans and done-markers; a job takes them as they are.
"""

from snakemake.iocontainers import Wildcards
from xvectors.config.layout import shard_names
from xvectors.job.gpu_lease import processors_of_job
from xvectors.run.stale_records import number_of_shards


def is_made(path: str) -> bool:
    """Tell whether a rule of this workflow, or of the one that includes it, makes a file."""
    return any(rule.is_producer(path) for rule in workflow.rules)


@refusing
def force_stale_jobs(wildcards: Wildcards) -> list[str]:
    """Make Snakemake rerun the jobs whose records are stale. Returns no files."""
    if workflow.is_main_process:
        if is_module:
            run.check(filter(is_made, settings.xvector.manifest_paths.values()))
        workflow.dag.forcefiles.update(map(str, run.records.newly_stale()))
    return []


@refusing
def plan_of(wildcards: Wildcards) -> str:
    """Return the plan of a split. A job needs it, but its time does not matter."""
    plan = str(layout.plan(wildcards.split))
    if workflow.is_main_process:
        run.records.split(wildcards.split)
        force_stale_jobs(wildcards)
        if run.records.is_stale(wildcards.split, wildcards.shard):
            # Before the plan is made again, Snakemake does not see that a job behind an ancient
            # input is forced.
            return plan
    return ancient(plan)


def shards_of(split: str) -> list[str]:
    """Return the names of a split's shards, after splitting its manifest if necessary."""
    if workflow.is_main_process:
        n_shards = run.records.split_again(split).n_shards
        force_stale_jobs(Wildcards())
        # A manifest that this run makes decides the number of shards, unless that is given.
        is_given = settings.xvector.given_shards(split) is not None
        is_open = not is_given and is_made(settings.xvector.manifest_paths[split])
    else:
        n_shards = number_of_shards(settings, split)
        is_open = False
    if n_shards is None or is_open:
        checkpoints.count_shards.get(split=split)
    return shard_names(n_shards)


@refusing
def counted_of(wildcards: Wildcards) -> list[str]:
    """Wait for a manifest that this run makes, after which other shards may be stale."""
    path = settings.xvector.manifest_paths[wildcards.split]
    return [str(layout.counted(wildcards.split))] if is_made(path) else []


def threads_of_shard(wildcards: Wildcards) -> int:
    """Return the number of processors of a shard's job: few shards get several each."""
    xvector = settings.xvector
    # `workflow.cores` raises an error without --cores.
    cores = workflow.resource_settings.cores
    # On a cluster, all jobs run at once, and each has what it asks for.
    is_here = workflow.is_main_process and workflow.resource_settings.nodes is None
    n_jobs = run.records.n_shards_to_run() if is_here else None
    return processors_of_job(xvector.device, xvector.jobs_per_gpu, cores, n_jobs)
