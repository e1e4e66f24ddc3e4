from statistics import NormalDist

import numpy as np
import pytest

from xvectors.verification.error_rates import ScoredTrials, equal_error_rate, error_rates
from xvectors.verification.score_summary import (
    MAX_DET_POINTS,
    N_BINS,
    det_curve,
    report_pairs,
    summarize_scores,
)


def trials(target: list[float], nontarget: list[float]) -> ScoredTrials:
    scores = np.array([*target, *nontarget], dtype=np.float64)
    is_target = np.arange(len(scores)) < len(target)
    return ScoredTrials(scores, is_target, np.where(is_target[:, None], [0, 0], [0, 1]))


def test_histograms_are_shares_of_either_kind():
    summary = summarize_scores(trials([0.0, 1.0, 1.0, 1.0], [0.0, 0.0]))
    assert (summary.n_same, summary.n_different, summary.n_speakers) == (4, 2, 2)
    assert (summary.edges[0], summary.edges[-1]) == (0, 1)
    assert len(summary.same) == N_BINS
    assert (summary.same[0], summary.same[-1]) == (0.25, 0.75)
    assert (summary.different[0], summary.different[-1]) == (1, 0)


def test_the_threshold_of_the_equal_error_rate_parts_the_scores():
    summary = summarize_scores(trials([0.8, 0.9, 0.7, 0.2], [0.1, 0.3, 0.0, -0.2]))
    assert summary.equal_error is not None
    assert summary.equal_error.rate == pytest.approx(0.25)
    # At 0.3, one of four misses, and one of four false alarms (those of 0.3 itself).
    assert summary.equal_error.threshold == 0.3
    assert summary.equal_error.low <= summary.equal_error.rate <= summary.equal_error.high


@pytest.mark.parametrize(("target", "nontarget"), [([0.5], []), ([], [0.5, 0.1])])
def test_one_kind_alone_has_no_error_rate(target: list[float], nontarget: list[float]):
    summary = summarize_scores(trials(target, nontarget))
    assert summary.equal_error is None
    assert (summary.n_same, summary.n_different) == (len(target), len(nontarget))
    assert (summary.same.sum(), summary.different.sum()) == (bool(target), bool(nontarget))


def test_scores_that_are_all_alike():
    summary = summarize_scores(trials([1.0] * 3, [1.0] * 3))
    assert summary.same.sum() == summary.different.sum() == 1
    assert summary.equal_error is not None
    assert summary.equal_error.rate == 0.5
    assert np.isfinite(summary.equal_error.threshold)


def test_pairs_without_labels():
    report = report_pairs("cosine", np.array([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert (report.n_pairs, report.mean, report.median) == (5, 0.5, 0.5)
    assert report.deviation == pytest.approx(0.125**0.5)
    assert report.quantiles[0.25] == 0.25
    assert report.counts.sum() == 5
    assert (report.counts[0], report.counts[-1], len(report.counts)) == (1, 1, N_BINS)
    assert report_pairs("cosine", np.array([0.5])).counts.sum() == 1


def test_the_det_curve_is_a_line_for_normal_scores():
    random = np.random.default_rng(0)
    rates = error_rates(trials([*random.normal(2, 1, 20_000)], [*random.normal(0, 1, 20_000)]))
    curve = det_curve(rates)
    assert 100 < len(curve.x) <= MAX_DET_POINTS
    # Misses fall where false alarms rise, and their deviates add up to minus the distance.
    assert (np.diff(curve.false_alarms) <= 0).all()
    assert (np.diff(curve.misses) >= 0).all()
    within = np.abs(curve.x + 1) < 1
    np.testing.assert_allclose((curve.x + curve.y)[within], -2, atol=0.1)
    assert equal_error_rate(rates) == pytest.approx(NormalDist().cdf(-1), abs=0.005)


def test_the_det_curve_of_perfect_scores_is_empty():
    assert len(det_curve(error_rates(trials([1.0, 0.9], [0.1, 0.2]))).x) == 0
