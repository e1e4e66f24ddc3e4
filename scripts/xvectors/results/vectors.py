"""Vectors: their types, normalization and sums, in blocks of rows."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]

# Rows in memory at a time.
BLOCK_ROWS = 4096
# Products of rows in memory at a time, 256 MB.
MAX_PRODUCTS = 2**26


def normalize_lengths(embeddings: Vectors) -> Vectors:
    """Return embeddings, shape (n, dim), divided by their lengths; a zero vector stays zero."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def blocks(n_rows: int, n_products: int = 1) -> Iterator[slice]:
    """Yield slices of rows that fit into memory with `n_products` products for each row."""
    size = max(1, min(BLOCK_ROWS, MAX_PRODUCTS // max(n_products, 1)))
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def nearest_means(vectors: Vectors, means: Vectors, excluded: Numbers) -> tuple[Numbers, Floats]:
    """Return the mean with the largest product with each vector, and that product, shape (n,).

    Args:
        vectors: Shape (n, dim), in memory or on disk.
        means: Shape (means, dim), at least two.
        excluded: A mean that does not count, for each vector, shape (n,).

    """
    n = len(excluded)
    nearest, products = np.zeros(n, dtype=np.int64), np.empty(n)
    room: Vectors | None = None
    for block in blocks(n, len(means)):
        places = np.arange(block.stop - block.start)
        # Memory that is allocated anew for each block costs as much as the products.
        room = np.empty((len(places), len(means)), np.float32) if room is None else room
        found = np.matmul(np.asarray(vectors[block]), means.T, out=room[: len(places)])
        found[places, excluded[block]] = -np.inf
        nearest[block] = found.argmax(axis=1)
        products[block] = found[places, nearest[block]]
    return nearest, products


def pair_products(vectors: Vectors, pairs: Numbers) -> Floats:
    """Return the product of the two vectors of each pair, shape (n,).

    Args:
        vectors: Shape (m, dim).
        pairs: The rows of both, shape (n, 2).

    """
    products = np.empty(len(pairs))
    for block in blocks(len(pairs)):
        first, second = pairs[block].T
        products[block] = np.einsum("nd,nd->n", vectors[first], vectors[second], dtype=np.float64)
    return products


def sum_groups(
    vectors: Vectors, numbers: Numbers, n_groups: int, weights: Floats | Numbers | NDArray[np.bool_]
) -> Floats:
    """Return the weighted sum of each group's vectors, shape (groups, dim).

    Args:
        vectors: Shape (n, dim), in memory or on disk.
        numbers: Each vector's group, from 0, shape (n,).
        n_groups: The number of groups.
        weights: Each vector's weight, shape (n,).

    """
    sums = np.zeros((n_groups, vectors.shape[1]))
    for block in blocks(len(numbers)):
        order = np.argsort(numbers[block], kind="stable")
        present, starts = np.unique(numbers[block][order], return_index=True)
        rows = np.asarray(vectors[block], dtype=np.float64) * weights[block][:, None]
        sums[present] += np.add.reduceat(rows[order], starts)
    return sums
