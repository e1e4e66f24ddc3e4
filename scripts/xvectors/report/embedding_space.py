"""Maps of a split's embeddings, and cosines of pairs of them.

In this module, `vectors` is float32 of shape (n, dim), with rows of length 1 (`normalize_lengths`).
`speakers` is an integer array of shape (n,): the number of each row's speaker, counted from 0.
Rows of one speaker are adjacent.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xvectors.results.vectors import Floats, Numbers, Vectors, pair_products, sum_groups
from xvectors.verification.error_rates import ScoredTrials

# Below this total variance, differences are rounding errors of float32.
NO_VARIANCE = 1e-12
# Cells of a density, horizontally and vertically.
GRID = (64, 32)


class Projection(NamedTuple):
    """Vectors on their first two principal components.

    Attributes:
        points: The vectors' coordinates, shape (n, 2).
        shares: Each component's share of the variance, 0 to 1.
        center: The mean of the vectors, shape (dim,).
        axes: The components, shape (dim, 2).

    """

    points: Floats
    shares: tuple[float, float]
    center: Floats
    axes: Floats

    def project(self, vectors: Vectors) -> Floats:
        """Return the coordinates of other vectors, shape (m, 2)."""
        return np.asarray((vectors - self.center) @ self.axes)


class Density(NamedTuple):
    """Number of points in each cell of a grid: `counts`, shape (x, y), between the edges."""

    x_edges: Floats
    y_edges: Floats
    counts: Numbers


def principal_components(vectors: Vectors) -> Projection:
    """Return the centred vectors along the two directions of largest variance.

    These directions are the eigenvectors of the covariance matrix with the largest eigenvalues.
    The sign of each makes its largest component positive.
    """
    center = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors.astype(np.float64) - center
    variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    total = float(variances.sum())
    if total < NO_VARIANCE:
        axes = np.zeros((len(center), 2))
        return Projection(np.zeros((len(vectors), 2)), (0.0, 0.0), center, axes)
    axes = directions[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])
    missing = 2 - axes.shape[1]
    axes = np.pad(axes, ((0, 0), (0, missing)))
    first, second = np.pad(variances[::-1][:2], (0, missing)) / total
    return Projection(centred @ axes, (float(first), float(second)), center, axes)


def density(points: Floats) -> Density:
    """Return the density of points, shape (n, 2)."""
    counts, x_edges, y_edges = np.histogram2d(points[:, 0], points[:, 1], GRID)
    return Density(x_edges, y_edges, counts.astype(np.int64))


def neighbour_map(vectors: Vectors) -> Floats:
    """Return a t-SNE map, shape (n, 2), which keeps neighbours together.

    The perplexity is 30, or less for few vectors (van der Maaten and Hinton 2008,
    https://jmlr.org/papers/v9/vandermaaten08a.html). Needs at least four vectors.
    """
    from sklearn.manifold import TSNE  # noqa: PLC0415 - slow to import, rarely needed

    perplexity = min(30.0, (len(vectors) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="random", random_state=0).fit_transform(vectors)
    return np.asarray(points, dtype=np.float64)


def scored_pairs(vectors: Vectors, speakers: Numbers, limit: int) -> ScoredTrials:
    """Return cosines of pairs of vectors of the same speaker and of different speakers.

    Each kind has all of its pairs if there are at most `limit`. Otherwise `limit` pairs are drawn
    uniformly at random, with replacement.
    """
    random = np.random.default_rng(0)
    sizes = np.bincount(speakers)[speakers]
    starts = np.searchsorted(speakers, speakers)

    def same_speaker(first: Numbers, count: Numbers) -> Numbers:
        second = starts[first] + count
        return second + (second >= first)

    def other_speaker(first: Numbers, count: Numbers) -> Numbers:
        return np.where(count < starts[first], count, count + sizes[first])

    same = _pairs(sizes - 1, same_speaker, limit, random)
    different = _pairs(len(speakers) - sizes, other_speaker, limit, random)
    pairs = np.concatenate([same, different])
    is_same = np.arange(len(pairs)) < len(same)
    return ScoredTrials(pair_products(vectors, pairs), is_same, speakers[pairs])


def coherence(vectors: Vectors, speakers: Numbers) -> Floats:
    """Return the mean cosine of each speaker's pairs of utterances, shape (speakers,).

    For n vectors of length 1 with sum s, it is (|s|^2 - n) / (n (n - 1)). NaN for n = 1.
    """
    sizes = np.bincount(speakers).astype(np.float64)
    squares = (sum_groups(vectors, speakers, len(sizes), np.ones(len(vectors))) ** 2).sum(axis=1)
    lengths = np.bincount(speakers, weights=(vectors.astype(np.float64) ** 2).sum(axis=1))
    sizes[sizes == 1] = np.nan
    return np.asarray((squares - lengths) / (sizes * (sizes - 1)))


def _pairs(
    n_partners: Numbers,
    partner: Callable[[Numbers, Numbers], Numbers],
    limit: int,
    random: np.random.Generator,
) -> Numbers:
    """Return pairs of utterances, shape (pairs, 2): all, or as many as `limit` drawn at random.

    An utterance has `n_partners`, shape (n,); `partner` returns one of them, given the utterance
    and a number from 0.
    """
    ends = np.cumsum(n_partners)
    n_ordered = int(ends[-1])
    is_drawn = n_ordered > 2 * limit
    chosen = random.integers(n_ordered, size=limit) if is_drawn else np.arange(n_ordered)
    first = np.searchsorted(ends, chosen, side="right")
    pairs = np.stack([first, partner(first, chosen - (ends - n_partners)[first])], axis=1)
    return pairs if is_drawn else pairs[pairs[:, 0] < pairs[:, 1]]
