"""Summaries of trial scores for the pages: histograms, error rates and DET curves."""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xvectors.results.vectors import Floats
from xvectors.verification.error_rates import (
    ErrorRates,
    ScoredTrials,
    equal_error_interval,
    equal_error_rate,
    error_rates,
    min_dcf,
)

# The kinds of scores, by their keys in tables and files of results.
SCORES = {"score": "cosine", "normalized_score": "normalized cosine"}
N_BINS = 60
# Prior probabilities of a target trial in VoxCeleb's and NIST's evaluations.
P_TARGETS = (0.01, 0.05)
MAX_DET_POINTS = 400
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class EqualError(NamedTuple):
    """An equal error rate, its 95 % confidence interval (0 to 1) and its threshold."""

    rate: float
    low: float
    high: float
    threshold: float


class ScoreSummary(NamedTuple):
    """Histograms of target and non-target scores over the same bins.

    Attributes:
        n_same: Number of target trials.
        n_different: Number of non-target trials.
        n_speakers: Number of speakers in the trials.
        edges: Edges of the bins, shape (bins + 1,).
        same: Share of the target trials in each bin, shape (bins,).
        different: Share of the non-target trials in each bin, shape (bins,).
        equal_error: The equal error rate. None unless there are trials of both kinds.

    """

    n_same: int
    n_different: int
    n_speakers: int
    edges: Floats
    same: Floats
    different: Floats
    equal_error: EqualError | None


class ScoreReport(NamedTuple):
    """Results of one kind of score.

    `costs` are the minimum detection costs by prior probability.
    """

    kind: str
    scores: ScoreSummary
    equal_error: EqualError
    costs: dict[float, float]
    curve: "DetCurve"


class PairsReport(NamedTuple):
    """Results of one kind of score of pairs without labels.

    Attributes:
        kind: The kind of score, such as `cosine`.
        n_pairs: Number of pairs.
        mean: Mean of the scores.
        deviation: Their standard deviation.
        quantiles: Their quantiles by share, `QUANTILES`; that of 0.5 is the median.
        edges: Edges of the histogram's bins, shape (bins + 1,).
        counts: Number of scores in each bin, shape (bins,).

    """

    kind: str
    n_pairs: int
    mean: float
    deviation: float
    quantiles: dict[float, float]
    edges: Floats
    counts: NDArray[np.int64]

    @property
    def median(self) -> float:
        """The median of the scores."""
        return self.quantiles[0.5]


class DetCurve(NamedTuple):
    """Points of a DET curve; `x` and `y` are the normal deviates of false alarms and misses.

    On these axes, normally distributed scores give a straight line (Martin et al. 1997, "The DET
    curve in assessment of detection task performance", Eurospeech).
    """

    false_alarms: Floats
    misses: Floats
    x: Floats
    y: Floats


def report_scores(kind: str, trials: ScoredTrials) -> ScoreReport:
    """Return the results of a kind of score, such as `cosine`. Trials must be of both kinds."""
    rates = error_rates(trials)
    scores = summarize_scores(trials)
    if scores.equal_error is None:
        raise ValueError("error rates need trials of both kinds")
    costs = {p_target: min_dcf(rates, p_target) for p_target in P_TARGETS}
    return ScoreReport(kind, scores, scores.equal_error, costs, det_curve(rates))


def report_pairs(kind: str, scores: Floats) -> PairsReport:
    """Return the results of a kind of score of at least one pair."""
    edges = _edges(scores)
    values = np.quantile(scores, QUANTILES)
    return PairsReport(
        kind,
        len(scores),
        float(scores.mean()),
        float(scores.std()),
        dict(zip(QUANTILES, values.tolist(), strict=True)),
        edges,
        np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0],
    )


def summarize_scores(trials: ScoredTrials) -> ScoreSummary:
    """Return the summary of at least one trial."""
    edges = _edges(trials.scores)
    same, different = (
        np.histogram(np.clip(trials.scores[kind], edges[0], edges[-1]), edges)[0]
        for kind in (trials.is_target, ~trials.is_target)
    )
    return ScoreSummary(
        int(same.sum()),
        int(different.sum()),
        len(np.unique(trials.speakers)),
        edges,
        same / max(same.sum(), 1),
        different / max(different.sum(), 1),
        _equal_error(trials) if same.any() and different.any() else None,
    )


def det_curve(rates: ErrorRates) -> DetCurve:
    """Return at most `MAX_DET_POINTS` points where both error rates lie between 0 and 1."""
    within = (rates.misses > 0) & (rates.misses < 1)
    within &= (rates.false_alarms > 0) & (rates.false_alarms < 1)
    where = np.flatnonzero(within)
    if len(where) > MAX_DET_POINTS:
        # Space points evenly along the curve. Thresholds are densest where it matters least.
        way = _deviates(rates.misses[where]) - _deviates(rates.false_alarms[where])
        wanted = np.linspace(way[0], way[-1], MAX_DET_POINTS)
        where = where[np.unique(np.searchsorted(way, wanted).clip(max=len(way) - 1))]
    false_alarms, misses = rates.false_alarms[where], rates.misses[where]
    return DetCurve(false_alarms, misses, _deviates(false_alarms), _deviates(misses))


def _edges(scores: Floats) -> Floats:
    low, high = float(scores.min()), float(scores.max())
    # Equal scores still need a bin of nonzero width.
    return np.histogram_bin_edges([low, max(high, low + 1e-6)], N_BINS)


def _equal_error(trials: ScoredTrials) -> EqualError:
    rates = error_rates(trials)
    crossing = int(np.argmax(rates.misses >= rates.false_alarms))
    low, high = equal_error_interval(trials)
    threshold = min(float(rates.thresholds[crossing]), float(trials.scores.max()))
    return EqualError(equal_error_rate(rates), low, high, threshold)


def _deviates(rates: NDArray[np.float64]) -> Floats:
    deviate = NormalDist().inv_cdf
    return np.array([deviate(rate) for rate in rates])
