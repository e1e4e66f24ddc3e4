"""Check a split's manifest and write its index shards, balanced by duration."""

from xvectors.run.step_server import hand_over

hand_over("tables")

from pathlib import Path

from xvectors.config.layout import Layout
from xvectors.manifest.reading import read_manifest
from xvectors.run.script_log import running
from xvectors.sharding.limits import Limits
from xvectors.sharding.splitting import split_manifest

if __name__ == "__main__":
    with running(snakemake) as settings:
        split_manifest(
            read_manifest(Path(snakemake.input.manifest)),
            snakemake.wildcards.split,
            snakemake.params.n_shards,
            Layout.of(settings),
            Limits.of(settings),
        )
