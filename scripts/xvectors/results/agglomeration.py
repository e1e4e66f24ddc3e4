"""Average linkage of unit vectors by cosine, in memory that is linear in their number.

The average cosine between two clusters is the product of the means of their vectors. So clusters
are kept as means, and no matrix of all pairs is needed. Each round merges all pairs of clusters
that are each other's nearest, which gives the same tree as merging the nearest pair of all one by
one (Murtagh 1983, doi:10.1093/comjnl/26.4.354; Sumengen et al. 2021, arXiv:2105.11653).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from xvectors.results.vectors import (
    Floats,
    Numbers,
    Vectors,
    blocks,
    nearest_means,
    normalize_lengths,
    sum_groups,
)

# More vectors are first agglomerated in parts of about `PART_ROWS`.
MAX_ROWS_AT_ONCE = 20_000
PART_ROWS = 5_000
# Parts that merge a smaller share of their rows are not worth their time.
MIN_SHARE_MERGED = 0.1
# Rows from which the centers of the parts are learnt, per part.
ROWS_PER_CENTER = 256
# Cosines that differ by less count as equal, because of rounding.
MIN_RANGE = 1e-3


class Merges(NamedTuple):
    """Merges of clusters, shape (merges,) each.

    `kept` and `gone` number a vector of either cluster. A vector is gone at most once. `cosines`
    are the average ones between the two clusters, and `smaller` is the smaller one's number of
    vectors.
    """

    kept: Numbers
    gone: Numbers
    cosines: Floats
    smaller: Numbers

    def of(self, vectors: Numbers) -> "Merges":
        """Return the same merges with the numbers that vectors have elsewhere, shape (n,)."""
        return self._replace(kept=vectors[self.kept], gone=vectors[self.gone])


class Groups(NamedTuple):
    """Groups of vectors: `numbers`, shape (n,), and the average cosine from which they merged."""

    numbers: Numbers
    threshold: float


def group_vectors(vectors: Vectors, sizes: Numbers) -> Groups:
    """Group vectors by average linkage, cut where `choose_cut` says.

    Beyond `MAX_ROWS_AT_ONCE` vectors, k-means divides them into parts, and the trees of the parts
    are cut. As long as many clusters are left, and dividing them anew merges many, that is
    repeated. The rest is agglomerated all together.

    Args:
        vectors: Of length 1 or 0, float32 of shape (n, dim).
        sizes: How often each of them counts, shape (n,).

    """
    means = vectors
    firsts = numbers = np.arange(len(vectors))
    earlier: list[Merges] = []
    cut = float("nan")
    while len(means) > MAX_ROWS_AT_ONCE:
        trees = _concatenate(
            [agglomerate(means[rows], sizes[rows]).of(rows) for rows in _parts(means)]
        )
        # Later trees have few merges within speakers, if any.
        cut = cut if earlier else choose_cut(trees)
        inner = Merges._make(column[trees.cosines >= cut] for column in trees)
        earlier.append(inner.of(firsts))
        roots, groups = np.unique(join(inner, len(means), cut), return_inverse=True)
        firsts, numbers = firsts[roots], groups[numbers]
        means, sizes = _means(means, sizes, groups, len(roots))
        if len(inner.gone) < MIN_SHARE_MERGED * len(groups):
            break
    merges = agglomerate(means, sizes)
    threshold = choose_cut(_concatenate([*earlier, merges]))
    return Groups(join(merges, len(means), threshold)[numbers], threshold)


def agglomerate(means: Vectors, sizes: Numbers) -> Merges:
    """Merge clusters until one is left.

    Args:
        means: The means of the clusters' unit vectors, float32 of shape (n, dim).
        sizes: Their numbers of vectors, shape (n,).

    """
    members = np.arange(len(means))
    sizes = sizes.astype(np.int64)
    nearest, cosines = _nearest(means, members)
    means = means.copy()
    none = np.zeros(0, np.int64)
    merges = [Merges(none, none, np.zeros(0), none)]
    while len(means) > 1:
        first = _mutual(nearest, cosines)
        second = nearest[first]
        smaller = np.minimum(sizes[first], sizes[second])
        merges.append(Merges(members[first], members[second], cosines[first], smaller))
        sums = means[first] * sizes[first, None] + means[second] * sizes[second, None]
        sizes[first] += sizes[second]
        means[first] = sums / sizes[first, None]
        changed = np.zeros(len(means), dtype=bool)
        changed[first] = changed[second] = True
        outdated = changed | changed[nearest]
        left = np.ones(len(means), dtype=bool)
        left[second] = False
        places = np.cumsum(left) - 1
        means, sizes, members = means[left], sizes[left], members[left]
        nearest, cosines, outdated = places[nearest[left]], cosines[left], outdated[left]
        rows = np.flatnonzero(outdated)
        nearest[rows], cosines[rows] = _nearest(means, rows)
    return _concatenate(merges)


def choose_cut(merges: Merges) -> float:
    """Return the average cosine from which two clusters are of the same speaker.

    Merges within speakers have higher cosines than those between them. The cut divides them so
    that the variance between both kinds is largest (Otsu 1979, doi:10.1109/TSMC.1979.4310076). A
    merge counts as often as its smaller cluster has vectors, which are those that it moves.
    Without merges of two kinds the cut is infinite.
    """
    order = np.argsort(merges.cosines)
    cosines, weights = merges.cosines[order], merges.smaller[order].astype(np.float64)
    if len(cosines) == 0 or cosines[-1] - cosines[0] < MIN_RANGE:
        return float("inf")
    below, products = np.cumsum(weights)[:-1], np.cumsum(weights * cosines)[:-1]
    above = weights.sum() - below
    lower, upper = products / below, ((weights * cosines).sum() - products) / above
    best = int(np.argmax(below * above * (upper - lower) ** 2))
    return float(cosines[best] + cosines[best + 1]) / 2


def join(merges: Merges, n: int, threshold: float) -> Numbers:
    """Return for each of `n` vectors the first member of its cluster, shape (n,)."""
    high = merges.cosines >= threshold
    roots = np.arange(n)
    roots[merges.gone[high]] = merges.kept[high]
    while not np.array_equal(roots, further := roots[roots]):
        roots = further
    return roots


def _concatenate(merges: Sequence[Merges]) -> Merges:
    return Merges._make(map(np.concatenate, zip(*merges, strict=True)))


def _nearest(means: Vectors, rows: Numbers) -> tuple[Numbers, Floats]:
    """Return the nearest other cluster of each row, and its average cosine, shape (rows,)."""
    if len(means) == 1:
        return np.zeros(len(rows), dtype=np.int64), np.full(len(rows), -np.inf)
    return nearest_means(means[rows], means, rows)


def _mutual(nearest: Numbers, cosines: Floats) -> Numbers:
    """Return one row of each pair of clusters that are each other's nearest, at least one."""
    rows = np.arange(len(nearest))
    first = rows[(nearest[nearest] == rows) & (rows < nearest)]
    # With ties, rounding may leave no such pair. The nearest pair of all is one.
    return first if len(first) else np.array([int(cosines.argmax())])


def _parts(vectors: Vectors) -> Iterator[Numbers]:
    """Yield the rows of each part of vectors that lie close together."""
    from sklearn.cluster import MiniBatchKMeans  # noqa: PLC0415 - only needed for many vectors

    n_parts = -(-len(vectors) // PART_ROWS)
    random = np.random.default_rng(0)
    n_learnt = min(len(vectors), n_parts * ROWS_PER_CENTER)
    learnt = np.sort(random.choice(len(vectors), n_learnt, replace=False))
    means = MiniBatchKMeans(n_parts, random_state=0, n_init=1, batch_size=4096)
    means.fit(vectors[learnt])
    centers = normalize_lengths(means.cluster_centers_.astype(np.float32))
    part = np.empty(len(vectors), dtype=np.int64)
    for block in blocks(len(vectors), n_parts):
        part[block] = (vectors[block] @ centers.T).argmax(axis=1)
    order = np.argsort(part, kind="stable")
    yield from filter(len, np.split(order, np.cumsum(np.bincount(part))[:-1]))


def _means(
    vectors: Vectors, sizes: Numbers, numbers: Numbers, n_groups: int
) -> tuple[Vectors, Numbers]:
    sums = sum_groups(vectors, numbers, n_groups, sizes)
    totals = np.bincount(numbers, sizes, minlength=n_groups).astype(np.int64)
    return (sums / totals[:, None]).astype(np.float32), totals
