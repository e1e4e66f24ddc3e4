"""How well clusters agree with speakers, and how long they take.

    python tests/benchmark/clusters.py agreement results/x_vectors/resemblyzer/train.tsv ...
    python tests/benchmark/clusters.py speed 10000 100000 1000000

The speed is that of random vectors around a center per speaker. Prints Markdown.
"""

import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from made_vectors import made_vectors  # beside this script

from xvectors.results.clusters import agreement, find_clusters
from xvectors.results.labels import read_labelled


def measure_agreement(tables: list[Path]) -> None:
    """Print the number of speakers found and the agreement with the labels, by split."""
    print("| split | utterances | speakers | clusters | alone | purity | NMI |")
    print("|---|---|---|---|---|---|---|")
    for table in tables:
        with TemporaryFile() as store:
            labelled = read_labelled(table, store)
            clusters = find_clusters(labelled.vectors, labelled.duplicate_of)
        sizes = f"{len(labelled.utt_ids)} | {len(labelled.speakers)} | {len(clusters.means)}"
        print(f"| {table.stem} | {sizes} | {scores(labelled.labels, clusters.numbers)}")


def scores(labels, numbers) -> str:
    """Return the number of utterances alone, purity and NMI as cells of a table."""
    found = agreement(labels, numbers)
    purity, information = found["purity"], found["normalized_mutual_information"]
    return f"{(numbers < 0).sum()} | {purity:.3f} | {information:.3f} |"


def measure_speed(sizes: list[int]) -> None:
    """Print time, memory and agreement by the number of utterances."""
    print("| utterances | speakers | clusters | alone | purity | NMI | seconds | peak memory |")
    print("|---|---|---|---|---|---|---|---|")
    for size in sizes:
        with made_vectors(size) as made:
            begun = time.perf_counter()
            clusters = find_clusters(made.vectors, np.full(size, -1))
            seconds = time.perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        found = f"{len(clusters.means):,} | {scores(made.labels, clusters.numbers)}"
        print(
            f"| {size:,} | {len(made.centers):,} | {found} {seconds:.0f} | {peak:.2f} GiB |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1] == "agreement":
        measure_agreement([Path(index) for index in sys.argv[2:]])
    else:
        measure_speed([int(size) for size in sys.argv[2:]])
