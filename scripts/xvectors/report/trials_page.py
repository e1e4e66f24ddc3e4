"""The page of a trial list: error rates, DET curves and histograms of its scores."""

from collections.abc import Sequence

from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.files.atomic import write_atomically
from xvectors.report import charts
from xvectors.report.page import render
from xvectors.verification.error_rates import N_DRAWS
from xvectors.verification.score_summary import ScoreReport


def draw_trials(config: Settings, name: str, reports: Sequence[ScoreReport]) -> None:
    """Write the page of one of the configuration's trial lists.

    Args:
        config: A resolved configuration.
        name: Name of the list, a key of ``trials``.
        reports: A report on each kind of score.

    """
    page = trials_page(config.xvector.spk_embed_tag, name, reports)
    write_atomically(Layout.of(config).trials_page(name), page.encode())


def trials_page(tag: str, name: str, reports: Sequence[ScoreReport]) -> str:
    """Return the page of a trial list as HTML.

    Args:
        tag: Tag of the embeddings.
        name: Name of the trial list.
        reports: A report on each kind of score.

    """
    specs = {"det": charts.det_chart({report.kind: report.curve for report in reports})}
    for number, report in enumerate(reports):
        specs[f"similarity{number}"] = charts.similarity_chart(report.scores, report.kind)
    values = {"tag": tag, "name": name, "reports": reports, "n_draws": N_DRAWS}
    return render("trials.html.j2", values, specs, {})
