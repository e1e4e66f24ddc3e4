"""The page of a trial list: error rates, DET curves and histograms of its scores."""

from collections.abc import Mapping
from typing import NamedTuple

from xvectors import charts
from xvectors.page import render
from xvectors.score_summary import DetCurve, ScoreSummary, det_curve, summarize_scores
from xvectors.verification import Trials, error_rates, min_dcf

P_TARGETS = (0.01, 0.05)


class ScoreReport(NamedTuple):
    """What a page shows of one kind of score; `costs` are minDCF by prior probability."""

    kind: str
    scores: ScoreSummary
    costs: dict[float, float]
    curve: DetCurve


def report_scores(kind: str, trials: Trials) -> ScoreReport:
    """Return what a page shows of a kind of score, `cosine` say, of trials of both kinds."""
    rates = error_rates(trials)
    costs = {p_target: min_dcf(rates, p_target) for p_target in P_TARGETS}
    return ScoreReport(kind, summarize_scores(trials), costs, det_curve(rates))


def trials_page(tag: str, name: str, scored: Mapping[str, Trials]) -> str:
    """Return the page of a trial list as HTML.

    Args:
        tag: Of the embeddings.
        name: Of the trial list.
        scored: Its trials, of both kinds, for each kind of score.

    """
    reports = [report_scores(kind, trials) for kind, trials in scored.items()]
    specs = {"det": charts.det_chart({report.kind: report.curve for report in reports})}
    for number, report in enumerate(reports):
        specs[f"similarity{number}"] = charts.similarity_chart(report.scores, report.kind)
    return render("trials.html.j2", {"tag": tag, "name": name, "reports": reports}, specs, {})
