"""The configuration, checked, and the paths that follow from it."""

import re
import sys
from logging import LogRecord
from pathlib import Path

from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards

here = workflow.current_basedir.get_path_or_uri(secret_free=True)
scripts = str(Path(here).parents[1] / "scripts")
if scripts not in sys.path:
    sys.path.insert(0, scripts)

from omegaconf import OmegaConf
from xvectors.config.layout import Layout, shard_names
from xvectors.config.resolving import resolve_config
from xvectors.encoders.identity import collect_numerics
from xvectors.encoders.source import files_version
from xvectors.errors import XVectorsError, as_error_lines
from xvectors.job.gpu_lease import processors_of_job
from xvectors.run import cluster_resources
from xvectors.run.python_path import share_package_with_jobs
from xvectors.run.slurm_workarounds import work_around_slurm
from xvectors.run.startup import start, start_job
from xvectors.run.stale_records import number_of_shards
from xvectors.sharding.limits import Limits
from xvectors.tasks.outputs import makes_embeddings, runner_class

work_around_slurm(workflow.is_main_process)
share_package_with_jobs()
# Where a module's prefix puts a path of a rule.
place = workflow.modifier.path_modifier.replace_prefix
given_by_hand = ["--config"] if workflow.config_settings.config else []
config_files = ", ".join([*map(str, workflow.configfiles), *given_by_hand])


def refuse(error: XVectorsError) -> WorkflowError:
    """End the run with an error's message, or return it as the error of a module."""
    # Snakemake would add the place in this file, which tells a user nothing.
    if not is_module:
        sys.exit(as_error_lines(error))
    return WorkflowError(as_error_lines(error))


try:
    if workflow.is_main_process:
        run = start(config, config_files, place)
        settings = run.settings
        run.quiet.kept.add(NOTHING_TO_BE_DONE_MSG)
        if not is_module:
            run.check()
    else:
        settings = start_job(config, config_files, place)
except XVectorsError as error:
    raise refuse(error) from None

# The rules' paths, to which Snakemake adds a module's prefix itself.
layout = Layout.of(resolve_config(config))
manifest_paths = resolve_config(config).xvector.manifest_paths
# Scripts read this.
config = OmegaConf.to_container(settings.as_omegaconf(), resolve=False)


def quieten() -> None:
    """Keep Snakemake's blocks of what goes well off the terminal. Its log file has them."""
    shown = workflow.output_settings
    if shown.dryrun or shown.verbose or shown.debug_dag or shown.printshellcmds:
        return
    for handler in workflow.logger_manager.logger.handlers:
        if handler.name == "DefaultStreamHandler":
            handler.addFilter(only_problems)


def only_problems(record: LogRecord) -> bool:
    """Tell whether the terminal shows a message of Snakemake's."""
    # Commands that only look do not execute, and print what they find.
    return workflow.execution_settings is None or run.quiet.filter(record)


if workflow.is_main_process and not is_module:
    quieten()


onstart:
    try:
        if workflow.is_main_process:
            run.begin()
    except XVectorsError as error:
        raise refuse(error) from None


onsuccess:
    if workflow.is_main_process:
        run.end()


onerror:
    if workflow.is_main_process:
        run.end()


wildcard_constraints:
    split="|".join(map(re.escape, settings.xvector.splits)),
    shard=r"\d+-of-\d+",
    # Without trial lists, match no name.
    trials="|".join(map(re.escape, settings.xvector.trials)) or "(?!)",


def log_of(rule: str, stem: str) -> str:
    """Return the log of a rule's job."""
    return str(layout.log(rule, stem))


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
    look(wildcards)
    plan = str(layout.plan(wildcards.split))
    if workflow.is_main_process:
        run.records.split(wildcards.split)
        if layout.marker(wildcards.split, wildcards.shard) in run.records.stale:
            # Before the plan is made again, Snakemake does not see that a job behind an ancient
            # input is forced.
            return plan
    return ancient(plan)


def shards_of(split: str) -> list[str]:
    """Return the names of a split's shards, after splitting its manifest if necessary."""
    if not workflow.is_main_process:
        n_shards = number_of_shards(settings, split)
        if n_shards is None:
            checkpoints.split_manifest.get(split=split)
        return shard_names(n_shards)
    records = run.records.split(split)
    look(Wildcards())
    if records.n_shards is None or (
        records.has_plan and is_made(settings.xvector.manifest_paths[split])
    ):
        # This run may make the manifest again, which decides the number of shards.
        checkpoints.split_manifest.get(split=split)
        records = run.records.split_again(split)
        look(Wildcards())
    return shard_names(records.n_shards)


def manifest_of(wildcards: Wildcards) -> str:
    """Return the manifest of a split."""
    # Snakemake adds no prefix to a local file.
    return local(settings.xvector.manifest_paths[wildcards.split])


def given_shards_of(wildcards: Wildcards) -> int | None:
    """Return the number of shards of a split, None if its hours of audio decide."""
    return settings.xvector.given_shards(wildcards.split)


def excluded_of_split() -> list[str]:
    """Return the table of a split's excluded utterances, if there are limits."""
    return [str(layout.excluded("{split}"))] if Limits.of(settings) else []


def markers_of_split(wildcards: Wildcards) -> list[str]:
    """Return the done-markers of a split."""
    shards = shards_of(wildcards.split)
    return [str(layout.marker(wildcards.split, shard)) for shard in shards]


def all_markers(wildcards: Wildcards) -> list[str]:
    """Return the done-markers of all splits."""
    splits = settings.xvector.splits
    return [
        str(layout.marker(split, shard))
        for split in splits
        for shard in shards_of(split)
    ]


def speakers_of_cohort(wildcards: Wildcards) -> list[str]:
    """Return the speaker embeddings that scores are normalized against, if any."""
    cohort = settings.xvector.cohort
    return [] if cohort is None else [str(layout.speakers(cohort))]


def all_scores() -> list[str]:
    """Return the results of all trial lists."""
    makers = (layout.scores, layout.error_rates, layout.trials_page)
    return [str(make(name)) for make in makers for name in settings.xvector.trials]


def all_summaries() -> list[str]:
    """Return the summaries of the labels and clusters of all splits."""
    makers = []
    if settings.xvector.labels:
        makers.append(layout.labels_summary)
    if settings.xvector.clusters:
        makers.append(layout.clusters_summary)
    return [str(make(split)) for make in makers for split in settings.xvector.splits]


def wanted_scores(wildcards: Wildcards) -> list[str]:
    """Return the results of all trial lists, of which there must be at least one."""
    if not settings.xvector.trials:
        raise WorkflowError("nothing to score: give lists of trials as xvector.trials")
    return all_scores()


def all_products(wildcards: Wildcards) -> list[str]:
    """Return the products of the embeddings: means, labels, clusters, exports, pages, scores."""
    splits = settings.xvector.splits
    makers = [getattr(layout, kind) for kind in settings.xvector.exports]
    if makes_embeddings(runner_class(settings)) and settings.xvector.speaker_means:
        makers.append(layout.speakers)
    if settings.xvector.labels:
        makers += [layout.labels, layout.clean_manifest]
    if settings.xvector.clusters:
        makers.append(layout.clusters)
    if settings.xvector.report:
        makers.append(layout.page)
    products = [str(make(split)) for make in makers for split in splits]
    if settings.xvector.report:
        products.append(str(layout.overview))
    return products + all_scores()
