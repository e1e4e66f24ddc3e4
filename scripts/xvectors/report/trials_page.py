"""The page of a trial list: error rates, DET curves and histograms of its scores."""

from collections.abc import Sequence

from xvectors.report import charts
from xvectors.report.page import render
from xvectors.report.score_summary import ScoreReport


def trials_page(tag: str, name: str, reports: Sequence[ScoreReport]) -> str:
    """Return the page of a trial list as HTML.

    Args:
        tag: Of the embeddings.
        name: Of the trial list.
        reports: On each kind of score.

    """
    specs = {"det": charts.det_chart({report.kind: report.curve for report in reports})}
    for number, report in enumerate(reports):
        specs[f"similarity{number}"] = charts.similarity_chart(report.scores, report.kind)
    return render("trials.html.j2", {"tag": tag, "name": name, "reports": reports}, specs, {})
