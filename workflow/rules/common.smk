"""Paths and other values that several rules need, of the settings and of the state of a run."""

import re

from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards
from xvectors.config.layout import shard_names
from xvectors.job.gpu_lease import processors_of_job
from xvectors.run.products import Products
from xvectors.run.stale_records import number_of_shards

products = Products(settings, layout)
# A runner of the user's own may need PyTorch to check what it has made.
results_env = (
    "../../envs/results.yaml"
    if settings.xvector.runner == "xvectors.XVectorRunner"
    else "../../envs/embedding.yaml"
)


wildcard_constraints:
    split="|".join(map(re.escape, settings.xvector.splits)),
    shard=r"\d+-of-\d+",
    # Without trial lists, match no name.
    trials="|".join(map(re.escape, settings.xvector.trials)) or "(?!)",


def log_of(rule: str, stem: str) -> str:
    """Return the log of a rule's job."""
    return str(layout.log(rule, stem))


def threads_of_shard(wildcards: Wildcards) -> int:
    """Return the number of processors of a shard's job: few shards get several each."""
    xvector = settings.xvector
    # `workflow.cores` raises an error without --cores.
    cores = workflow.resource_settings.cores
    # On a cluster, all jobs run at once, and each has what it asks for.
    is_here = workflow.is_main_process and workflow.resource_settings.nodes is None
    n_jobs = run.records.n_shards_to_run() if is_here else None
    return processors_of_job(xvector.device, xvector.jobs_per_gpu, cores, n_jobs)


def is_made(path: str) -> bool:
    """Tell whether a rule of this workflow, or of the one that includes it, makes a file."""
    return any(rule.is_producer(path) for rule in workflow.rules)


def look(wildcards: Wildcards) -> list[str]:
    """Make Snakemake rerun the jobs whose records are stale. Returns no files."""
    if workflow.is_main_process:
        if is_module:
            run.check(filter(is_made, settings.xvector.manifest_paths.values()))
        workflow.dag.forcefiles.update(map(str, run.records.newly_stale()))
    return []


def plan_of(wildcards: Wildcards) -> str:
    """Return the plan of a split. A job needs it, but its time does not matter."""
    plan = str(layout.plan(wildcards.split))
    if workflow.is_main_process:
        run.records.split(wildcards.split)
        look(wildcards)
        if run.records.is_stale(wildcards.split, wildcards.shard):
            # Before the plan is made again, Snakemake does not see that a job behind an ancient
            # input is forced.
            return plan
    return ancient(plan)


def shards_of(split: str) -> list[str]:
    """Return the names of a split's shards, after splitting its manifest if necessary."""
    if workflow.is_main_process:
        n_shards = run.records.split_again(split).n_shards
        look(Wildcards())
        # A manifest that this run makes decides the number of shards, unless that is given.
        is_given = settings.xvector.given_shards(split) is not None
        is_open = not is_given and is_made(settings.xvector.manifest_paths[split])
    else:
        n_shards = number_of_shards(settings, split)
        is_open = False
    if n_shards is None or is_open:
        checkpoints.count_shards.get(split=split)
    return shard_names(n_shards)


def counted_of(wildcards: Wildcards) -> list[str]:
    """Wait for a manifest that this run makes, after which other shards may be stale."""
    path = settings.xvector.manifest_paths[wildcards.split]
    return [str(layout.counted(wildcards.split))] if is_made(path) else []


def manifest_of(wildcards: Wildcards) -> str:
    """Return the manifest of a split."""
    # Snakemake adds no prefix to a local file.
    return local(settings.xvector.manifest_paths[wildcards.split])


def markers_of_split(wildcards: Wildcards) -> list[str]:
    """Return the done-markers of a split."""
    shards = shards_of(wildcards.split)
    return [str(layout.marker(wildcards.split, shard)) for shard in shards]


def all_markers(wildcards: Wildcards) -> list[str]:
    """Return the done-markers of all splits."""
    splits = [Wildcards(fromdict={"split": split}) for split in settings.xvector.splits]
    return [marker for split in splits for marker in markers_of_split(split)]


def wanted_scores(wildcards: Wildcards) -> list[str]:
    """Return the results of all trial lists, of which there must be at least one."""
    if not settings.xvector.trials:
        raise WorkflowError("nothing to score: give lists of trials as xvector.trials")
    return products.scores()
