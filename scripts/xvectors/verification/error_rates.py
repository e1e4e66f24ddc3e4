"""Error rates of speaker verification.

A trial is accepted if its score reaches a threshold. Misses are rejected target trials (same
speaker). False alarms are accepted non-target trials (different speakers). All measures here follow
from these two rates over all thresholds.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xvectors.results.vectors import Floats

CONFIDENCE = 0.95
# Number of draws of speakers for an interval.
N_DRAWS = 200


class ScoredTrials(NamedTuple):
    """Scored pairs of utterances.

    Attributes:
        scores: float64, shape (n,).
        is_target: Whether the speakers are the same, bool, shape (n,).
        speakers: Numbers of both utterances' speakers, int64, shape (n, 2).

    """

    scores: Floats
    is_target: NDArray[np.bool_]
    speakers: NDArray[np.int64]


class ErrorRates(NamedTuple):
    """Misses and false alarms, 0 to 1, at each threshold.

    Three float64 arrays of shape (distinct scores + 1,). Thresholds ascend. The last one accepts
    nothing. Misses rise from 0 to 1, false alarms fall from 1 to 0.
    """

    thresholds: Floats
    misses: Floats
    false_alarms: Floats


def error_rates(trials: ScoredTrials, weights: Floats | None = None) -> ErrorRates:
    """Return the error rates at every threshold at which they change.

    There must be trials of both kinds. Their weights, shape (n,), are equal if None.
    """
    weights = np.ones(len(trials.scores)) if weights is None else weights
    order = np.argsort(trials.scores, kind="stable")
    scores, is_target, weights = trials.scores[order], trials.is_target[order], weights[order]
    starts = np.append(np.flatnonzero(np.diff(scores, prepend=-np.inf)), len(scores))
    rejected = [
        np.concatenate([[0.0], np.cumsum(np.where(kind, weights, 0.0))])
        for kind in (is_target, ~is_target)
    ]
    misses, rejections = (below[starts] / below[-1] for below in rejected)
    return ErrorRates(np.append(scores, np.inf)[starts], misses, 1 - rejections)


def equal_error_rate(rates: ErrorRates) -> float:
    """Return the rate, 0 to 1, at which misses equal false alarms.

    Both are interpolated linearly between the two thresholds where they cross.
    """
    gap = rates.misses - rates.false_alarms
    after = int(np.argmax(gap >= 0))
    share = gap[after] / (gap[after] - gap[after - 1])
    return float(rates.misses[after] - share * (rates.misses[after] - rates.misses[after - 1]))


def equal_error_interval(
    trials: ScoredTrials, n_draws: int = N_DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % confidence interval of the equal error rate over other speakers.

    Trials that share a speaker are not independent. So speakers are drawn with replacement, not
    trials. A pair of speakers gets the product of their counts as its weight (the pigeonhole
    bootstrap, Owen 2007, doi:10.1214/07-AOAS122). The interval lies between the percentiles of
    `n_draws`. There must be trials of both kinds.
    """
    # Sort once instead of in each draw.
    order = np.argsort(trials.scores, kind="stable")
    trials = ScoredTrials(trials.scores[order], trials.is_target[order], trials.speakers[order])
    random = np.random.default_rng(seed)
    n_speakers = int(trials.speakers.max()) + 1
    found = []
    for _ in range(n_draws):
        drawn = np.bincount(random.integers(n_speakers, size=n_speakers), minlength=n_speakers)
        first, second = drawn[trials.speakers[:, 0]], drawn[trials.speakers[:, 1]]
        same = trials.speakers[:, 0] == trials.speakers[:, 1]
        weights = np.where(same, first, first * second).astype(np.float64)
        if weights[trials.is_target].any() and weights[~trials.is_target].any():
            found.append(equal_error_rate(error_rates(trials, weights)))
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def min_dcf(rates: ErrorRates, p_target: float) -> float:
    """Return the normalized minimum detection cost, where both errors cost 1.

    `p_target` is the prior probability, 0 to 1, that a trial is a target. The cost is divided by
    the cost of accepting all or rejecting all, the smaller of the two. A system without any
    information has a cost of 1 (NIST 2016 Speaker Recognition Evaluation Plan, section 3.1).
    """
    costs = p_target * rates.misses + (1 - p_target) * rates.false_alarms
    return float(costs.min() / min(p_target, 1 - p_target))
