"""Check a split's manifest and write its index shards, balanced by duration."""

from pathlib import Path

from xvectors.config import resolve_config
from xvectors.layout import Layout
from xvectors.manifest import read_manifest
from xvectors.run.script_log import script_log
from xvectors.sharding import split_manifest

if __name__ == "__main__":
    with script_log(snakemake.log[0]):
        split_manifest(
            read_manifest(Path(snakemake.input.manifest)),
            snakemake.wildcards.split,
            snakemake.params.n_shards,
            Layout.of(resolve_config(snakemake.config)),
        )
