"""Check the speaker labels of a split with its embeddings."""

from xvectors.run.step_server import hand_over

hand_over("tables")

from pathlib import Path

from xvectors.encoders.identity import provenance_metadata
from xvectors.results.labels import check_labels, write_clean_manifest
from xvectors.run.script_log import running

if __name__ == "__main__":
    with running(snakemake) as settings:
        manifest, labels = Path(snakemake.input.manifest), Path(snakemake.output.labels)
        check_labels(
            Path(snakemake.input.table),
            manifest,
            labels,
            Path(snakemake.output.summary),
            false_discovery_rate=snakemake.params.false_discovery_rate,
            metadata=provenance_metadata(settings),
        )
        write_clean_manifest(manifest, labels, Path(snakemake.output.clean))
