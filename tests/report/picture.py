"""Take a picture of a report: ``python -m tests.report.picture REPORT.html PICTURE.png``."""

import sys
from pathlib import Path

from .browser import WIDTHS, Window, running_browser

SPLIT = "train"
HEIGHT = 1000


def main(report: Path, picture: Path) -> None:
    """Open the page of the split in Snakemake's report and save what a user sees."""
    with running_browser() as browser:
        window = Window(browser, WIDTHS[0])
        window.page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
        window.open_in_snakemakes_report(report.resolve(), SPLIT)
        window.page.screenshot(path=picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
