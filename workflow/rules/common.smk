"""Paths that several rules need."""

import re

from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards
from xvectors.run.products import Products

products = Products(settings, layout)
# A runner of the user's own may need PyTorch to check what it has made.
results_env = (
    "../../envs/results.yaml"
    if settings.xvector.runner == "xvectors.XVectorRunner"
    else "../../envs/embedding.yaml"
)
# Inputs of rules that read a split's embeddings. The table may stay as it was when these change.
table_of_split = {
    "table": layout.table("{split}"),
    "collected": layout.collected("{split}"),
}


wildcard_constraints:
    split="|".join(map(re.escape, settings.xvector.splits)),
    shard=r"\d+-of-\d+",
    # Without trial lists, match no name.
    trials="|".join(map(re.escape, settings.xvector.trials)) or "(?!)",


def manifest_of(wildcards: Wildcards) -> str:
    """Return the manifest of a split."""
    # Snakemake adds no prefix to a local file.
    return local(settings.xvector.manifest_paths[wildcards.split])


def markers_of(split: str) -> list[str]:
    """Return the done-markers of a split."""
    return [str(layout.marker(split, shard)) for shard in shards_of(split)]


@refusing
def all_markers(wildcards: Wildcards) -> list[str]:
    """Return the done-markers of all splits."""
    return [marker for split in settings.xvector.splits for marker in markers_of(split)]


def wanted_scores(wildcards: Wildcards) -> list[str]:
    """Return the results of all trial lists, of which there must be at least one."""
    if not settings.xvector.trials:
        raise WorkflowError("nothing to score: give lists of trials as xvector.trials")
    return products.scores()
