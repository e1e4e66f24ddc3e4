"""Scoring of trial lists by the cosine of embeddings."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.errors import TrialsError
from xvectors.files.atomic import write_atomically
from xvectors.results.speakers import Speakers, read_speakers
from xvectors.results.tables import EmbeddedRow, load_embeddings, write_table
from xvectors.results.vectors import Floats, Vectors, blocks, normalize_lengths, pair_products
from xvectors.verification.error_rates import CONFIDENCE, ScoredTrials
from xvectors.verification.score_summary import (
    SCORES,
    PairsReport,
    ScoreReport,
    report_pairs,
    report_scores,
)
from xvectors.verification.trials import Trial, find_utterances, has_labels, read_trials

logger = logging.getLogger(__name__)

Reports = list[ScoreReport] | list[PairsReport]


@dataclass(frozen=True)
class Cohort:
    """Speakers against whom scores are normalized.

    Attributes:
        means: Their embeddings, float32, shape (n, dim), of length 1.
        top: Number of an utterance's highest scores against them that count.

    """

    means: Vectors
    top: int

    @classmethod
    def of(cls, speakers: Speakers, top: int) -> "Cohort":
        """Return the cohort of all speakers.

        Raises:
            TrialsError: A standard deviation needs more speakers.

        """
        if min(len(speakers.speaker_ids), top) < 2:  # noqa: PLR2004 - for a standard deviation
            raise TrialsError("xvector.cohort: fewer than 2 speakers; name a split with more")
        return cls(normalize_lengths(speakers.means), top)


def score_trials(settings: Settings, name: str) -> Reports:
    """Score one of the configuration's trial lists, and write its scores and their summary.

    The summary has error rates, or mean and quantiles for a list without labels. Return a report on
    the cosines, and with a cohort one on the normalized scores.

    Raises:
        TrialsError: Lines of the list are wrong, or name missing utterances.

    """
    xvector, layout = settings.xvector, Layout.of(settings)
    path = Path(xvector.trials[name])
    trials, rows = find_utterances(path, read_trials(path), layout, list(xvector.splits))
    cohort = None
    if xvector.cohort is not None:
        speakers = read_speakers(layout.speakers(xvector.cohort))
        own = {row.speaker_id for row in rows.values()}
        n_shared = len(own.intersection(speakers.speaker_ids))
        if n_shared:
            logger.warning(
                "%s: %d of its %d speakers are also in the cohort, %s. A cohort of other speakers "
                "normalizes better",
                *(path, n_shared, len(own), xvector.cohort),
            )
        cohort = Cohort.of(speakers, xvector.cohort_size)
    scored = cosine_scores(trials, rows, cohort)
    if has_labels(trials):
        reports: Reports = [report_scores(SCORES[key], one) for key, one in scored.items()]
    else:
        reports = [report_pairs(SCORES[key], one.scores) for key, one in scored.items()]
    for report in reports:
        logger.info("%s: %s", name, _in_words(report))
    write_scores(layout.scores(name), trials, scored)
    results = dict(zip(scored, map(_as_json, reports), strict=True))
    content = {"trials": str(path), "cohort": xvector.cohort, **results}
    write_atomically(layout.error_rates(name), json.dumps(content, indent=2).encode() + b"\n")
    return reports


def cosine_scores(
    trials: list[Trial], rows: Mapping[str, EmbeddedRow], cohort: Cohort | None
) -> dict[str, ScoredTrials]:
    """Return the cosines of trials, and their normalized scores if there is a cohort.

    The keys are those of `SCORES`. `rows` are the utterances by name. Trials without a label count
    as non-target ones.

    A score s of the utterances a and b becomes the mean of (s - m) / d for both, where m and d
    are the mean and the standard deviation of the utterance's highest scores against the cohort
    (adaptive s-norm, Matejka et al., "Analysis of score normalization in multilingual speaker
    recognition", Interspeech 2017, section 2.2).

    Raises:
        TrialsError: An utterance cannot be normalized.

    """
    names = sorted({name for trial in trials for name in (trial.utt1, trial.utt2)})
    number = {name: i for i, name in enumerate(names)}
    pairs = np.array([(number[trial.utt1], number[trial.utt2]) for trial in trials])
    embeddings = load_embeddings(rows[name] for name in names)
    vectors = normalize_lengths(np.stack(list(embeddings)))
    speaker_ids = [rows[name].speaker_id for name in names]
    numbers = {name: i for i, name in enumerate(dict.fromkeys(speaker_ids))}
    speakers = np.array([numbers[name] for name in speaker_ids])[pairs]
    is_target = np.array([bool(trial.is_target) for trial in trials])
    scores = pair_products(vectors, pairs)
    plain = ScoredTrials(scores, is_target, speakers)
    if cohort is None:
        return {"score": plain}
    mean, deviation = cohort_statistics(vectors, cohort)
    for name, spread in zip(names, deviation, strict=True):
        if not spread > 0:
            raise TrialsError(
                f"{name}: its scores against the cohort are all equal, so none can be normalized. "
                "Choose another split as xvector.cohort"
            )
    first, second = pairs.T
    normalized = (scores - mean[first]) / deviation[first]
    normalized += (scores - mean[second]) / deviation[second]
    return {"score": plain, "normalized_score": plain._replace(scores=normalized / 2)}


def cohort_statistics(vectors: Vectors, cohort: Cohort) -> tuple[Floats, Floats]:
    """Return the mean and the standard deviation of each vector's highest cohort scores.

    The vectors, shape (n, dim), have length 1. Both results have shape (n,).
    """
    means, deviations = np.empty(len(vectors)), np.empty(len(vectors))
    for block in blocks(len(vectors), len(cohort.means)):
        products = vectors[block] @ cohort.means.T
        products.sort(axis=1)
        highest = products[:, -cohort.top :].astype(np.float64)
        means[block], deviations[block] = highest.mean(axis=1), highest.std(axis=1)
    return means, deviations


def write_scores(path: Path, trials: list[Trial], scored: Mapping[str, ScoredTrials]) -> None:
    """Write the table of scores: label, utt1, utt2 and the scores.

    A list without labels has no column for them.
    """
    header = ["label"] * has_labels(trials) + ["utt1", "utt2", *scored]
    labels = ([] if trial.is_target is None else [str(int(trial.is_target))] for trial in trials)
    columns = (one.scores for one in scored.values())
    rows = (
        [*label, trial.utt1, trial.utt2, *(f"{score:.6f}" for score in scores)]
        for label, trial, *scores in zip(labels, trials, *columns, strict=True)
    )
    write_table(path, header, rows)


def _as_json(report: ScoreReport | PairsReport) -> dict[str, Any]:
    if isinstance(report, PairsReport):
        return {
            "n_pairs": report.n_pairs,
            "mean": report.mean,
            "standard_deviation": report.deviation,
            "median": report.median,
            "quantiles": {str(share): value for share, value in report.quantiles.items()},
        }
    rate, low, high, _ = report.equal_error
    return {
        "n_targets": report.scores.n_same,
        "n_nontargets": report.scores.n_different,
        "eer": rate,
        "eer_interval": {"low": low, "high": high, "confidence": CONFIDENCE},
        "min_dcf": {str(p_target): cost for p_target, cost in report.costs.items()},
    }


def _in_words(report: ScoreReport | PairsReport) -> str:
    if isinstance(report, PairsReport):
        return (
            f"{report.kind} of {report.n_pairs} pairs: mean {report.mean:.4f}, median "
            f"{report.median:.4f}"
        )
    rate, low, high, _ = report.equal_error
    costs = ", ".join(f"{cost:.4f} (p {p_target})" for p_target, cost in report.costs.items())
    n_trials = report.scores.n_same + report.scores.n_different
    return (
        f"{report.kind} of {n_trials} trials: EER {rate:.2%} "
        f"({CONFIDENCE:.0%} interval {low:.2%} to {high:.2%}), minDCF {costs}"
    )
