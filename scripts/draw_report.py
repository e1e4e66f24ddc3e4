"""Draw the page that shows a split: its speakers, doubtful utterances, durations and speed."""

from xvectors.config.layout import shard_names
from xvectors.config.resolving import resolve_config
from xvectors.report.split_page import draw_report
from xvectors.run.script_log import script_log

if __name__ == "__main__":
    with script_log(snakemake.log[0]):
        draw_report(
            resolve_config(snakemake.config),
            snakemake.wildcards.split,
            shard_names(snakemake.params.n_shards),
            snakemake.params.n_utterances,
            snakemake.params.with_tsne,
        )
