"""Make a split's manifest from its corpus."""

from xvectors.run.step_server import hand_over

hand_over("tables")

from pathlib import Path

from xvectors.corpora.make_manifest import make_manifest
from xvectors.run.script_log import script_log

if __name__ == "__main__":
    with script_log(snakemake.log[0]):
        make_manifest(snakemake.params.corpus, Path(snakemake.output.manifest))
