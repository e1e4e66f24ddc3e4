"""Copy the encoder from the hub or a local folder into one folder of plain files."""

from xvectors.run.step_server import hand_over

hand_over("tables")

from pathlib import Path

from xvectors.encoders.fetching import fetch_encoder
from xvectors.run.script_log import running

if __name__ == "__main__":
    with running(snakemake):
        fetch_encoder(snakemake.params.pretrained_model, Path(snakemake.output.encoder))
