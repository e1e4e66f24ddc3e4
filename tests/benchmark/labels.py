"""How well wrong speaker labels are found, and how long it takes.

    python tests/benchmark/labels.py swap results/x_vectors/resemblyzer/train.tsv
    python tests/benchmark/labels.py speed 10000 100000 1000000

Labels of a split are swapped at random, at least one, 20 times for each share, and the verdicts
compared with what was swapped. The speed is that of random vectors, beside the matrix product of
all utterances with all speakers. Prints Markdown.
"""

import resource
import sys
import time
from pathlib import Path
from statistics import mean
from tempfile import TemporaryFile

import numpy as np
from made_vectors import made_vectors  # beside this script

from xvectors.results.labels import choose_threshold, judge, read_labelled, score_labels

SHARES = (0.0, 0.01, 0.05, 0.2)
N_SEEDS = 20
RATE = 0.05


def swap(index: Path) -> None:
    """Print recall and precision by the share of swapped labels."""
    with TemporaryFile() as store:
        labelled = read_labelled(index, store)
        vectors = np.array(labelled.vectors)
    n_speakers = len(labelled.speakers)
    print(f"{len(vectors)} utterances of {n_speakers} speakers:\n")
    print("| swapped | rule | suspects | recall | precision | estimate of wrong labels |")
    print("|---|---|---|---|---|---|")
    for share in SHARES:
        found = [one_draw(vectors, labelled.labels, n_speakers, share, s) for s in range(N_SEEDS)]
        for rule in ("nearest mean", "verdict"):
            n_suspects, recall, precision, n_wrong = (
                mean(draw[rule][i] for draw in found) for i in range(4)
            )
            shown = f"{recall:.3f}" if share else ""
            estimate = f"{n_wrong:.1f}" if rule == "verdict" else ""
            numbers = f"{n_suspects:.1f} | {shown} | {precision:.3f} | {estimate}"
            print(f"| {share:.0%} | {rule} | {numbers} |")


def one_draw(vectors, labels, n_speakers, share, seed):
    """Return for each rule the suspects, recall, precision and estimate of one draw."""
    random = np.random.default_rng(seed)
    given = labels.copy()
    n_swapped = max(round(share * len(labels)), int(share > 0))
    places = random.choice(len(labels), n_swapped, replace=False)
    given[places] = (labels[places] + random.integers(1, n_speakers, len(places))) % n_speakers
    is_wrong = given != labels
    scores = score_labels(vectors, given, n_speakers)
    threshold = choose_threshold(scores.margin, RATE)
    plain = score_labels(vectors, given, n_speakers, n_rounds=1).margin < 0
    verdict = np.array(judge(scores, threshold)) == "suspect"
    return {
        rule: (
            float(suspect.sum()),
            (suspect & is_wrong).sum() / max(is_wrong.sum(), 1),
            (suspect & is_wrong).sum() / suspect.sum() if suspect.any() else 1.0,
            float(threshold.n_wrong),
        )
        for rule, suspect in {"nearest mean": plain, "verdict": verdict}.items()
    }


def speed(sizes: list[int]) -> None:
    """Print the time against that of the matrix product alone, and the peak memory."""
    print("| utterances | speakers | seconds | labels / product | peak memory |")
    print("|---|---|---|---|---|")
    for size in sizes:
        with made_vectors(size) as made:
            n_speakers = len(made.centers)
            begun = time.perf_counter()
            choose_threshold(score_labels(made.vectors, made.labels, n_speakers).margin, RATE)
            ours = time.perf_counter() - begun
            begun = time.perf_counter()
            for start in range(0, size, 4096):
                made.vectors[start : start + 4096] @ made.centers.T
            product = time.perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        times = f"{ours:.1f} | {ours / product:.1f}"
        print(f"| {size:,} | {n_speakers:,} | {times} | {peak:.2f} GiB |", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "swap":
        swap(Path(sys.argv[2]))
    else:
        speed([int(size) for size in sys.argv[2:]])
