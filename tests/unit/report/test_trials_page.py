import numpy as np

from xvectors.report.trials_page import trials_page
from xvectors.verification.error_rates import ScoredTrials
from xvectors.verification.score_summary import report_pairs, report_scores


def test_names_are_escaped():
    speakers = np.array([[0, 0], [0, 1]])
    report = report_scores(
        "<b>", ScoredTrials(np.array([0.9, 0.1]), np.array([True, False]), speakers)
    )
    page = trials_page("<i>tag</i>", "<script>alert(1)</script>", [report])
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<i>" not in page
    assert "<b>" not in page.lower()


def test_pairs_without_labels():
    reports = [
        report_pairs(kind, np.array([0.25, 0.5, 1.0])) for kind in ("cosine", "normalized cosine")
    ]
    page = trials_page("tag", "<b>", reports)
    assert "Similarity of 3 pairs" in page
    assert "<dd>0.5833</dd>" in page
    assert 'id="pairs1"' in page
    assert "equal error rate" not in page
    assert "<b>" not in page
