"""Link a split's embeddings where ESPnet3's recipes look for them."""

from xvectors.run.step_server import hand_over

hand_over("tables")

from xvectors.config.layout import Layout
from xvectors.results.espnet3 import link_split
from xvectors.run.script_log import running

if __name__ == "__main__":
    with running(snakemake) as settings:
        link_split(Layout.of(settings), snakemake.wildcards.split)
