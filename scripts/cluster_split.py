"""Find the speakers of a split by its embeddings alone."""

from xvectors.run.step_server import hand_over

hand_over("tables")

from pathlib import Path

from xvectors.encoders.identity import provenance_metadata
from xvectors.results.clusters import cluster_split
from xvectors.run.script_log import running

if __name__ == "__main__":
    with running(snakemake) as settings:
        cluster_split(
            Path(snakemake.input.table),
            Path(snakemake.output.clusters),
            Path(snakemake.output.means),
            Path(snakemake.output.summary),
            provenance_metadata(settings),
        )
