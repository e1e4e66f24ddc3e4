"""Check a split's embeddings and list what is embedded and what is not."""

from xvectors.config.layout import shard_names
from xvectors.config.resolving import resolve_config
from xvectors.results.collecting import collect_split
from xvectors.run.script_log import script_log

if __name__ == "__main__":
    with script_log(snakemake.log[0]):
        collect_split(
            resolve_config(snakemake.config),
            snakemake.wildcards.split,
            shard_names(snakemake.params.n_shards),
        )
