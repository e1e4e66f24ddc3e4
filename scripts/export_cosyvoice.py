"""Write a split's embeddings as CosyVoice's dictionaries."""

from xvectors.run.step_server import hand_over

hand_over("tables")

from pathlib import Path

from xvectors.results.cosyvoice import export_cosyvoice
from xvectors.run.script_log import running

if __name__ == "__main__":
    with running(snakemake):
        export_cosyvoice(Path(snakemake.input.table), Path(snakemake.output.folder))
