"""Link a split's embeddings to where ESPnet3's recipes look for them."""

from xvectors.config.layout import Layout
from xvectors.config.resolving import resolve_config
from xvectors.results.espnet3 import link_split
from xvectors.run.script_log import script_log

if __name__ == "__main__":
    with script_log(snakemake.log[0]):
        link_split(Layout.of(resolve_config(snakemake.config)), snakemake.wildcards.split)
