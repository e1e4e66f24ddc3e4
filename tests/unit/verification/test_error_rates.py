import numpy as np
import pytest
import torch
from speechbrain.utils.metric_stats import EER, minDCF

from xvectors.results.vectors import normalize_lengths
from xvectors.verification.error_rates import (
    ScoredTrials,
    equal_error_interval,
    equal_error_rate,
    error_rates,
    min_dcf,
)


def trials(targets, nontargets, speakers=None):
    scores = np.array([*targets, *nontargets], dtype=np.float64)
    is_target = np.array([True] * len(targets) + [False] * len(nontargets))
    if speakers is None:
        speakers = np.zeros((len(scores), 2), dtype=np.int64)
    return ScoredTrials(scores, is_target, speakers)


def drawn(n_targets, n_nontargets, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(1.5, 1, n_targets), random.normal(0, 1, n_nontargets)


def test_error_rates_at_every_threshold_by_hand():
    rates = error_rates(trials([0.9, 0.4], [0.4, 0.1]))
    assert rates.thresholds.tolist() == [0.1, 0.4, 0.9, np.inf]
    assert rates.misses.tolist() == [0, 0, 0.5, 1]
    assert rates.false_alarms.tolist() == [1, 0.5, 0, 0]


@pytest.mark.parametrize(
    ("targets", "nontargets", "expected"),
    [
        ([0.9, 0.8], [0.2, 0.1], 0.0),
        ([0.2, 0.1], [0.9, 0.8], 1.0),
        ([0.9, 0.8, 0.7, 0.3], [0.6, 0.4, 0.2, 0.1], 0.25),
        # All alike: at that score all are accepted, above it none; the rates cross half-way.
        ([0.5, 0.5], [0.5, 0.5, 0.5], 0.5),
        # Misses go from 1/3 to 2/3 where false alarms stay at 1/2: they meet there.
        ([0.9, 0.5, 0.2], [0.7, 0.1], 0.5),
    ],
)
def test_equal_error_rate_by_hand(targets, nontargets, expected):
    assert equal_error_rate(error_rates(trials(targets, nontargets))) == pytest.approx(expected)


def test_equal_error_rate_and_detection_cost_are_speechbrains():
    targets, nontargets = drawn(700, 900)
    rates = error_rates(trials(targets, nontargets))
    positive, negative = torch.from_numpy(targets), torch.from_numpy(nontargets)
    expected, _ = EER(positive, negative)
    # SpeechBrain takes the mean of both rates at the nearest threshold.
    assert equal_error_rate(rates) == pytest.approx(expected, abs=1 / 700)
    for p_target in (0.01, 0.05):
        cost, _ = minDCF(positive, negative, p_target=p_target)
        # Which SpeechBrain does not divide by that of rejecting all.
        assert min_dcf(rates, p_target) == pytest.approx(float(cost) / p_target, rel=1e-6)


def test_detection_cost_by_hand():
    # Threshold 0.7 misses one of four and accepts no non-target.
    rates = error_rates(trials([0.9, 0.8, 0.7, 0.3], [0.6, 0.4, 0.2, 0.1]))
    assert min_dcf(rates, 0.01) == pytest.approx(0.25)
    # All targets lie below all non-targets: nothing is better than rejecting all.
    assert min_dcf(error_rates(trials([0.1], [0.9])), 0.01) == pytest.approx(1.0)


def test_weights_count_like_repetitions():
    once = trials([0.9, 0.3], [0.6, 0.1])
    weighted = error_rates(once, np.array([3.0, 1.0, 1.0, 2.0]))
    repeated = error_rates(trials([0.9, 0.9, 0.9, 0.3], [0.6, 0.1, 0.1]))
    assert np.array_equal(weighted.thresholds, repeated.thresholds)
    assert np.allclose(weighted.misses, repeated.misses)
    assert np.allclose(weighted.false_alarms, repeated.false_alarms)


def test_a_draw_counts_pairs_as_if_its_speakers_were_there_so_often():
    random = np.random.default_rng(1)
    speakers = np.array([(a, b) for a in range(4) for b in range(a, 4)] * 3)
    is_target = speakers[:, 0] == speakers[:, 1]
    made = ScoredTrials(random.normal(size=len(speakers)) + is_target, is_target, speakers)
    found = []
    draws = np.random.default_rng(7)
    for _ in range(50):
        drawn = draws.integers(4, size=4).tolist()
        rows = [
            row
            for row, (a, b) in enumerate(speakers)
            for _ in range(drawn.count(a) * (1 if a == b else drawn.count(b)))
        ]
        repeated = ScoredTrials(made.scores[rows], is_target[rows], speakers[rows])
        if repeated.is_target.any() and not repeated.is_target.all():
            found.append(equal_error_rate(error_rates(repeated)))
    expected = np.quantile(found, [0.025, 0.975])
    assert np.allclose(equal_error_interval(made, n_draws=50, seed=7), expected)


def test_interval_covers_the_rate_and_narrows_with_more_speakers():
    def interval(n_speakers):
        first, second = np.triu_indices(4 * n_speakers, 1)
        speakers = np.stack([first // 4, second // 4], axis=1)
        is_target = speakers[:, 0] == speakers[:, 1]
        # Each speaker has an own difficulty, which all of its trials share.
        random = np.random.default_rng(5)
        level = random.normal(0, 0.7, n_speakers)[speakers].sum(axis=1)
        scores = 2.0 * is_target + level + random.normal(0, 1, len(is_target))
        made = ScoredTrials(scores, is_target, speakers)
        return equal_error_rate(error_rates(made)), equal_error_interval(made)

    rate, (low, high) = interval(10)
    assert low < rate < high
    many_rate, (many_low, many_high) = interval(80)
    assert many_low < many_rate < many_high
    assert many_high - many_low < (high - low) / 2


def test_lengths_are_normalized_and_zero_stays():
    normalized = normalize_lengths(np.array([[3, 4], [0, 0]], dtype=np.float32))
    assert normalized.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]
    assert normalized.dtype == np.float32
