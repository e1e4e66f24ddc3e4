"""Write a split's embeddings into one Parquet file."""

from xvectors.run.step_server import hand_over

hand_over("tables")

from pathlib import Path

from xvectors.encoders.identity import provenance_metadata
from xvectors.results.exporting import export_parquet
from xvectors.run.script_log import running

if __name__ == "__main__":
    with running(snakemake) as settings:
        export_parquet(
            Path(snakemake.input.table),
            Path(snakemake.output.table),
            provenance_metadata(settings),
        )
