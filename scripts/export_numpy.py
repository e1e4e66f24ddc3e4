"""Write a split's embeddings as a NumPy array."""

from xvectors.run.step_server import hand_over

hand_over("tables")

from pathlib import Path

from xvectors.results.exporting import export_numpy
from xvectors.run.script_log import running

if __name__ == "__main__":
    with running(snakemake):
        export_numpy(
            Path(snakemake.input.table),
            Path(snakemake.output.array),
            Path(snakemake.output.names),
        )
