"""Write a split's embeddings into one Parquet file."""

from pathlib import Path

from xvectors.config.resolving import resolve_config
from xvectors.encoders.identity import describe_origin
from xvectors.results.exporting import export_parquet
from xvectors.run.script_log import script_log

if __name__ == "__main__":
    with script_log(snakemake.log[0]):
        export_parquet(
            Path(snakemake.input.index),
            Path(snakemake.output.table),
            describe_origin(resolve_config(snakemake.config)),
        )
