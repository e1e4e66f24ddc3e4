import copy

import pytest

from .browser import n_marks, point_at


@pytest.fixture(scope="module")
def report(embedded):
    """Snakemake's report on a run of eight utterances."""
    shown = copy.copy(embedded)
    shown.xvector = embedded.xvector | {"report": True}
    path = embedded.root / "report.html"
    shown.run_well()
    shown.run_well("--report", str(path))
    return path


def test_it_holds_the_page_of_the_split(report, window):
    assert report.stat().st_size < 10e6
    frame = window.open_in_snakemakes_report(report, "train")
    assert n_marks(frame, "map")["symbol"] == 8
    assert "dmitri_03" in point_at(window, frame, "map", "dmitri_03")
    assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert [url for url in window.requests if url.startswith("http")] == []


def test_it_holds_the_overview_without_links_that_lead_nowhere(report, wide_window):
    frame = wide_window.open_in_snakemakes_report(report, "all of them")
    assert "train" in frame.locator("tbody").first.inner_text()
    assert "other entries of this report" in frame.locator("main").inner_text()
    targets = frame.locator("a").evaluate_all("(all) => all.map((one) => one.hash)")
    assert targets
    assert all(targets)
    frame.get_by_role("link", name="Encoder").click()
    assert frame.evaluate("location.hash") == "#encoder"
