"""The configuration, checked, and the paths that follow from it."""

import re
import sys
import time
from contextlib import suppress
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from xvectors.run import cluster_resources as cluster_requests
from xvectors.config.resolving import shards_of_split
from xvectors.errors import XVectorsError, as_error_lines
from xvectors.encoders.source import files_version
from xvectors.job.gpu_lease import processors_of_job
from xvectors.config.layout import shard_names
from xvectors.encoders.identity import collect_numerics
from xvectors.run.python_path import share_package_with_jobs
from xvectors.tasks.outputs import makes_embeddings, runner_class
from xvectors.run.slurm_array_task import become_own_task
from xvectors.run.slurm_workarounds import keep_unanswered_jobs
from xvectors.run.startup import start
from xvectors.run.summary import summarize

become_own_task(sys.argv)
share_package_with_jobs()
started_ns = time.time_ns()
config_files = ", ".join(map(str, workflow.configfiles)) or "--config"

if workflow.is_main_process:
    with suppress(ImportError):
        from snakemake_executor_plugin_slurm import Executor as SlurmExecutor

        keep_unanswered_jobs(SlurmExecutor)

try:
    settings, layout, run_lock = start(config, config_files, workflow.is_main_process)
    encoder_files = files_version(settings.xvector.pretrained_model)
except XVectorsError as error:
    sys.exit(as_error_lines(error))

tag = settings.xvector.spk_embed_tag
RETRIES_ON_CLUSTERS = 2


onstart:
    try:
        run_lock.hold()
    except XVectorsError as error:
        sys.exit(as_error_lines(error))
    if not workflow.local_exec:
        # Nodes get lost, and time and memory run out. Snakemake's own default is 0 retries.
        shard_rule = rules.embed_shard.rule
        shard_rule.restart_times = shard_rule.restart_times or RETRIES_ON_CLUSTERS


onsuccess:
    print(*summarize(settings, started_ns, log_of), sep="\n", file=sys.stderr)


onerror:
    print(*summarize(settings, started_ns, log_of), sep="\n", file=sys.stderr)


wildcard_constraints:
    split="|".join(map(re.escape, settings.xvector.splits)),
    shard=r"\d+-of-\d+",
    # No trial list is as good as one of no possible name.
    trials="|".join(map(re.escape, settings.xvector.trials)) or "(?!)",


def threads_of_shard() -> int:
    """Return the processors of a shard's job where it runs."""
    xvector = settings.xvector
    # `workflow.cores` is an error where there is no --cores.
    cores = workflow.resource_settings.cores
    return processors_of_job(xvector.device, xvector.jobs_per_gpu, cores)


def log_of(rule: str, stem: str) -> str:
    """Return the log of a rule's job."""
    return f"logs/{rule}/{tag}/{stem}.log"


def manifest_of(wildcards: Wildcards) -> str:
    """Return the manifest of a split."""
    return settings.xvector.manifest_paths[wildcards.split]


def n_shards_of(wildcards: Wildcards) -> int:
    """Return the number of shards of a split."""
    return shards_of_split(settings, wildcards.split)


def speakers_of_cohort(wildcards: Wildcards) -> list[str]:
    """Return the speaker embeddings that scores are normalized against, if any."""
    cohort = settings.xvector.cohort
    return [] if cohort is None else [str(layout.speakers(cohort))]


def all_scores() -> list[str]:
    """Return what is made of all trial lists."""
    makers = (layout.scores, layout.error_rates, layout.trials_page)
    return [str(make(name)) for make in makers for name in settings.xvector.trials]


def wanted_scores(wildcards: Wildcards) -> list[str]:
    """Return what is made of all trial lists, of which there must be one."""
    if not settings.xvector.trials:
        raise WorkflowError("nothing to score: give lists of trials as xvector.trials")
    return all_scores()


def all_products(wildcards: Wildcards) -> list[str]:
    """Return what is made of the embeddings: speakers' means, exports, pages, scores."""
    splits = settings.xvector.splits
    makers = [getattr(layout, kind) for kind in settings.xvector.exports]
    if makes_embeddings(runner_class(settings)) and settings.xvector.speaker_means:
        makers.append(layout.speakers)
    if settings.xvector.report:
        makers.append(layout.page)
    products = [str(make(split)) for make in makers for split in splits]
    return products + all_scores()


def _markers(split: str) -> list[str]:
    checkpoints.split_manifest.get(split=split)
    shards = shard_names(shards_of_split(settings, split))
    return [str(layout.marker(split, shard)) for shard in shards]


def markers_of_split(wildcards: Wildcards) -> list[str]:
    """Return the done-markers of a split, once its manifest is split."""
    return _markers(wildcards.split)


def all_markers(wildcards: Wildcards) -> list[str]:
    """Return the done-markers of all splits."""
    return [marker for split in settings.xvector.splits for marker in _markers(split)]
