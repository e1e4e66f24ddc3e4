"""Write a split's embeddings into one safetensors file."""

from pathlib import Path

from xvectors.config.resolving import resolve_config
from xvectors.encoders.identity import describe_origin
from xvectors.results.exporting import export_safetensors
from xvectors.run.script_log import script_log

if __name__ == "__main__":
    with script_log(snakemake.log[0]):
        export_safetensors(
            Path(snakemake.input.index),
            Path(snakemake.output.vectors),
            describe_origin(resolve_config(snakemake.config)),
        )
