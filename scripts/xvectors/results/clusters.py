"""Speakers found by the embeddings alone: clusters of a split's utterances.

The split's mean embedding, which all utterances share, is subtracted first. Without it, cosines
tell speakers apart better. Utterances with the same embedding count as one place of the tree.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np

from xvectors.files.atomic import write_atomically
from xvectors.results.agglomeration import MAX_ROWS_AT_ONCE, group_vectors
from xvectors.results.labels import Labelled, read_labelled
from xvectors.results.tables import write_table
from xvectors.results.vectors import (
    Floats,
    Numbers,
    Vectors,
    blocks,
    normalize_lengths,
    sum_groups,
)
from xvectors.storage.safetensors_file import write_vectors

COLUMNS = ("utt_id", "cluster", "cosine")
NO_CLUSTER = -1


class Clusters(NamedTuple):
    """Clusters of a split's utterances.

    `numbers`, shape (n,), count from 0, the largest cluster first, and are -1 for an utterance
    that is alone. `cosines`, shape (n,), are those to the cluster's mean, NaN where there is none.
    `means`, shape (clusters, dim), are of vectors of length 1. `threshold` is the average cosine,
    after subtracting the split's mean, from which clusters are merged.
    """

    numbers: Numbers
    cosines: Floats
    means: Vectors
    threshold: float


def cluster_split(
    embedded: Path, table: Path, means: Path, summary: Path, metadata: Mapping[str, str]
) -> None:
    """Write the clusters of a split's utterances, their means, and the numbers behind them.

    Args:
        embedded: The table of the split's embedded utterances.
        table: ``<split>.clusters.tsv``, see `COLUMNS`.
        means: ``<split>.clusters.safetensors``, a tensor per cluster.
        summary: ``<split>.clusters.json``: method, threshold, counts, agreement with the labels.
        metadata: Further entries of the summary and of the means.

    """
    with TemporaryFile(dir=table.parent) as store:
        labelled = read_labelled(embedded, store)
        clusters = find_clusters(labelled.vectors, labelled.duplicate_of)
    n_clusters, dim = clusters.means.shape
    names = (str(number) for number in range(n_clusters))
    write_vectors(means, names, iter(clusters.means), dim, metadata)
    write_table(table, COLUMNS, _rows(labelled, clusters))
    n = len(labelled.utt_ids)
    content: dict[str, Any] = {
        "method": "average linkage"
        + (" of clusters in parts by k-means" if n > MAX_ROWS_AT_ONCE else ""),
        "threshold": clusters.threshold if np.isfinite(clusters.threshold) else None,
        "n_utterances": n,
        "n_clusters": n_clusters,
        "n_alone": int((clusters.numbers == NO_CLUSTER).sum()),
        "n_speakers": len(labelled.speakers),
        **agreement(labelled.labels, clusters.numbers),
        **metadata,
    }
    write_atomically(summary, json.dumps(content, indent=2).encode() + b"\n")


def find_clusters(vectors: Vectors, duplicate_of: Numbers) -> Clusters:
    """Return the clusters of vectors.

    Args:
        vectors: Of length 1, shape (n, dim).
        duplicate_of: Each one's first vector of the same content, -1 for the first, shape (n,).

    """
    n = len(vectors)
    if n == 0:
        return Clusters(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 0), np.float32), np.inf)
    firsts = np.where(duplicate_of >= 0, duplicate_of, np.arange(n))
    rows, places = np.unique(firsts, return_inverse=True)
    groups = group_vectors(_centered(vectors, rows), np.bincount(places))
    numbers, n_clusters = _largest_first(groups.numbers[places])
    sizes = np.bincount(numbers[numbers >= 0], minlength=n_clusters)
    sums = sum_groups(vectors, numbers.clip(min=0), max(n_clusters, 1), numbers >= 0)[:n_clusters]
    means = (sums / sizes[:, None]).astype(np.float32)
    return Clusters(numbers, _cosines(vectors, numbers, means), means, groups.threshold)


def agreement(labels: Numbers, numbers: Numbers) -> dict[str, float]:
    """Return how far clusters agree with labels; nothing for one speaker or single utterances.

    `purity` is the share of utterances whose speaker is the most frequent one in their cluster;
    `normalized_mutual_information` is symmetric, 1 for the same division. An utterance that is
    alone is a cluster here.
    """
    n_speakers = len(np.unique(labels))
    if not 1 < n_speakers < len(labels):
        return {}
    from sklearn.metrics import normalized_mutual_info_score  # noqa: PLC0415 - rarely needed
    from sklearn.metrics.cluster import contingency_matrix  # noqa: PLC0415

    alone = numbers < 0
    numbers = np.where(alone, numbers.max() + 1 + np.cumsum(alone), numbers)
    counts = contingency_matrix(labels, numbers, sparse=True)
    return {
        "purity": float(counts.max(axis=0).sum() / len(labels)),
        "normalized_mutual_information": float(normalized_mutual_info_score(labels, numbers)),
    }


def _centered(vectors: Vectors, rows: Numbers) -> Vectors:
    """Return rows of vectors less the mean of all, divided by their lengths."""
    n, dim = vectors.shape
    mean = sum_groups(vectors, np.zeros(n, np.int64), 1, np.ones(n))[0] / n
    centered = np.empty((len(rows), dim), dtype=np.float32)
    for block in blocks(len(rows)):
        centered[block] = normalize_lengths((vectors[rows[block]] - mean).astype(np.float32))
    return centered


def _largest_first(groups: Numbers) -> tuple[Numbers, int]:
    """Return clusters' numbers by size, then by their first utterance, and how many there are."""
    _, firsts, places, sizes = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((firsts, -sizes))
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.arange(len(order))
    numbers[sizes == 1] = NO_CLUSTER
    return numbers[places], int((sizes > 1).sum())


def _cosines(vectors: Vectors, numbers: Numbers, means: Vectors) -> Floats:
    directions = normalize_lengths(means)
    cosines = np.full(len(numbers), np.nan)
    for block in blocks(len(numbers)):
        rows = np.flatnonzero(numbers[block] >= 0) + block.start
        cosines[rows] = (vectors[rows] * directions[numbers[rows]]).sum(axis=1)
    return cosines


def _rows(labelled: Labelled, clusters: Clusters) -> Iterator[list[str]]:
    columns = zip(labelled.utt_ids, clusters.numbers, clusters.cosines, strict=True)
    for utt_id, number, cosine in columns:
        yield [utt_id, str(number), "" if np.isnan(cosine) else f"{cosine:.6f}"]
