"""Hold the speaker labels of a split against its embeddings."""

from pathlib import Path

from xvectors.config.resolving import resolve_config
from xvectors.encoders.identity import describe_origin
from xvectors.results.labels import check_labels, write_clean_manifest
from xvectors.run.script_log import script_log

if __name__ == "__main__":
    with script_log(snakemake.log[0]):
        labels = Path(snakemake.output.labels)
        check_labels(
            Path(snakemake.input.index),
            labels,
            Path(snakemake.output.summary),
            snakemake.params.false_discovery_rate,
            describe_origin(resolve_config(snakemake.config)),
        )
        write_clean_manifest(Path(snakemake.input.manifest), labels, Path(snakemake.output.clean))
