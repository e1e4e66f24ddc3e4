"""Write a split's embeddings into one safetensors file."""

from xvectors.run.step_server import hand_over

hand_over("tables")

from pathlib import Path

from xvectors.encoders.identity import provenance_metadata
from xvectors.results.exporting import export_safetensors
from xvectors.run.script_log import running

if __name__ == "__main__":
    with running(snakemake) as settings:
        export_safetensors(
            Path(snakemake.input.table),
            Path(snakemake.output.vectors),
            provenance_metadata(settings),
        )
