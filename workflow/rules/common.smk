"""Paths and other values that several rules need, of the settings and of the state of a run."""

import re

from snakemake.iocontainers import Wildcards
from xvectors.config.layout import shard_names
from xvectors.run.stale_records import number_of_shards
from xvectors.sharding.limits import Limits
from xvectors.tasks.outputs import makes_embeddings, runner_class


wildcard_constraints:
    split="|".join(map(re.escape, settings.xvector.splits)),
    shard=r"\d+-of-\d+",
    # Without trial lists, match no name.
    trials="|".join(map(re.escape, settings.xvector.trials)) or "(?!)",


def log_of(rule: str, stem: str) -> str:
    """Return the log of a rule's job."""
    return str(layout.log(rule, stem))


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
