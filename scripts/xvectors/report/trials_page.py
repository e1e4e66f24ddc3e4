"""The page of a trial list: error rates or averages, and histograms of its scores."""

from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.files.atomic import write_atomically
from xvectors.report import charts
from xvectors.report.page import render
from xvectors.verification.error_rates import N_DRAWS
from xvectors.verification.score_summary import PairsReport, ScoreReport
from xvectors.verification.scoring import Reports


def draw_trials(settings: Settings, name: str, reports: Reports) -> None:
    """Write the page of one of the configuration's trial lists, given reports on its scores."""
    page = trials_page(settings.xvector.spk_embed_tag, name, reports)
    write_atomically(Layout.of(settings).trials_page(name), page.encode())


def trials_page(tag: str, name: str, reports: Reports) -> str:
    """Return the page of a trial list as HTML; `tag` is that of the embeddings."""
    pairs = [report for report in reports if isinstance(report, PairsReport)]
    if pairs:
        specs = {f"pairs{number}": charts.pairs_chart(one) for number, one in enumerate(pairs)}
        return render("pairs.html.j2", {"tag": tag, "name": name, "reports": pairs}, specs, {})
    labelled = [report for report in reports if isinstance(report, ScoreReport)]
    specs = {"det": charts.det_chart({report.kind: report.curve for report in labelled})}
    for number, report in enumerate(labelled):
        specs[f"similarity{number}"] = charts.similarity_chart(report.scores, report.kind)
    values = {"tag": tag, "name": name, "reports": labelled, "n_draws": N_DRAWS}
    return render("trials.html.j2", values, specs, {})
