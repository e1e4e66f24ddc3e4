"""Check a split's embeddings and list its embedded, failed and excluded utterances."""

from xvectors.run.step_server import hand_over

hand_over("tables")

from pathlib import Path

from xvectors.results.collecting import collect_split
from xvectors.run.script_log import running

if __name__ == "__main__":
    with running(snakemake) as settings:
        shards = [Path(marker).stem for marker in snakemake.input.markers]
        collect_split(settings, snakemake.wildcards.split, shards)
