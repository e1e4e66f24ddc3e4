"""Average the embeddings of each speaker of a split."""

from xvectors.run.step_server import hand_over

hand_over("tables")

from pathlib import Path

from xvectors.encoders.identity import provenance_metadata
from xvectors.results.speakers import average_speakers
from xvectors.run.script_log import running

if __name__ == "__main__":
    with running(snakemake) as settings:
        average_speakers(
            Path(snakemake.input.table),
            Path(snakemake.output.speakers),
            snakemake.params.length_normalize,
            provenance_metadata(settings),
        )
