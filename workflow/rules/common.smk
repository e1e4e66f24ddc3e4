"""The configuration, checked, and the paths that follow from it."""

import re
import sys
from pathlib import Path

from snakemake.iocontainers import Wildcards

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from xvectors.config import check_config, resolve_config, shards_of_split
from xvectors.errors import XVectorsError
from xvectors.fetching import files_version
from xvectors.layout import Layout, shard_names
from xvectors.markers import retract_untrue
from xvectors.provenance import make_recipe
from xvectors.run_lock import hold_run_lock

config_files = ", ".join(map(str, workflow.configfiles)) or "--config"

try:
    settings = resolve_config(config, config_files)
    if workflow.is_main_process:
        check_config(settings, config_files)
        retract_untrue(settings)
except XVectorsError as error:
    sys.exit(f"error: {error}")

layout = Layout.of(settings)
tag = settings.xvector.spk_embed_tag


onstart:
    try:
        hold_run_lock(layout.root)
    except XVectorsError as error:
        sys.exit(f"error: {error}")


wildcard_constraints:
    split="|".join(map(re.escape, settings.xvector.splits)),
    shard=r"\d+-of-\d+",


def pattern(path: Path) -> str:
    """Return a path of the layout as a pattern in which only our wildcards are wildcards."""
    escaped = str(path).replace("{", "{{").replace("}", "}}")
    return re.sub(r"\{\{(split|shard)\}\}", r"{\1}", escaped)


def log_of(rule: str, stem: str = "") -> str:
    """Return the log of a rule's job."""
    return pattern(Path("logs") / rule / tag / f"{stem or rule}.log")


def manifest_of(wildcards: Wildcards) -> str:
    """Return the manifest of a split."""
    return settings.xvector.manifest_paths[wildcards.split]


def n_shards_of(wildcards: Wildcards) -> int:
    """Return the number of shards of a split."""
    return shards_of_split(settings, wildcards.split)


def markers_of_split(split: str) -> list[str]:
    """Return the done-markers of a split, once its manifest is split."""
    checkpoints.split_manifest.get(split=split)
    shards = shard_names(shards_of_split(settings, split))
    return [str(layout.marker(split, shard)) for shard in shards]


def all_markers(wildcards: Wildcards) -> list[str]:
    """Return the done-markers of all splits."""
    return [
        marker
        for split in settings.xvector.splits
        for marker in markers_of_split(split)
    ]
