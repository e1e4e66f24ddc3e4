"""Check a split's manifest and write its index shards, balanced by duration."""

from pathlib import Path

from xvectors.config.layout import Layout
from xvectors.config.resolving import resolve_config
from xvectors.manifest.reading import read_manifest
from xvectors.run.script_log import script_log
from xvectors.sharding.splitting import split_manifest

if __name__ == "__main__":
    with script_log(snakemake.log[0]):
        split_manifest(
            read_manifest(Path(snakemake.input.manifest)),
            snakemake.wildcards.split,
            snakemake.params.n_shards,
            Layout.of(resolve_config(snakemake.config)),
        )
