"""Draw a split's page: speakers, doubtful utterances, durations and speed."""

from xvectors.run.step_server import hand_over

hand_over("pages")

from pathlib import Path

from xvectors.report.split_page import draw_report
from xvectors.run.script_log import running
from xvectors.sharding.collected import read_collected

if __name__ == "__main__":
    with running(snakemake) as settings:
        shards = read_collected(Path(snakemake.input.collected))
        draw_report(settings, snakemake.wildcards.split, shards)
