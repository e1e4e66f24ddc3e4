"""Write a split's embeddings as Kaldi's archives."""

from xvectors.run.step_server import hand_over

hand_over("tables")

from pathlib import Path

from xvectors.results.exporting import export_kaldi
from xvectors.run.script_log import running

if __name__ == "__main__":
    with running(snakemake):
        export_kaldi(
            Path(snakemake.input.table),
            Path(snakemake.input.speakers),
            Path(snakemake.output.folder),
        )
