"""Draw the overview of all splits and trial lists."""

from xvectors.run.step_server import hand_over

hand_over("pages")

from pathlib import Path

from xvectors.report.overview_page import draw_overview
from xvectors.run.script_log import running
from xvectors.sharding.collected import read_collected

if __name__ == "__main__":
    with running(snakemake) as settings:
        paths = map(Path, snakemake.input.collected)
        draw_overview(settings, {path.stem: read_collected(path) for path in paths})
