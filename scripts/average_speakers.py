"""Average the embeddings of each speaker of a split."""

from pathlib import Path

from xvectors.config.resolving import resolve_config
from xvectors.encoders.identity import describe_origin
from xvectors.results.speakers import average_speakers
from xvectors.run.script_log import script_log

if __name__ == "__main__":
    with script_log(snakemake.log[0]):
        average_speakers(
            Path(snakemake.input.index),
            Path(snakemake.output.speakers),
            snakemake.params.length_normalize,
            describe_origin(resolve_config(snakemake.config)),
        )
