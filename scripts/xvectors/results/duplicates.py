"""Repeated utterances: embeddings that are equal, except for the rounding of their batches."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from xvectors.results.vectors import Floats, Numbers, Vectors, blocks

# Embeddings of the same audio differ by no more than this part of their largest element.
TOLERANCE = 1e-4
# The side of a cell of two grids for vectors of length 1, and the grids' offsets in cells. Rounding
# moves some vectors into the next cell of one grid, but hardly any into those of both.
CELL = 0.01
OFFSETS = (0.0, 0.5)


def hash_cells(vector: Vectors) -> list[int]:
    """Return a hash of the cell in each grid that a vector of length 1, shape (dim,), lies in."""
    cells = (np.floor(vector / CELL + offset).astype(np.int8) for offset in OFFSETS)
    digests = (blake2b(cell.tobytes(), digest_size=8).digest() for cell in cells)
    return [int.from_bytes(digest, "little", signed=True) for digest in digests]


def find_duplicates(vectors: Vectors, lengths: Floats, hashes: Sequence[Numbers]) -> Numbers:
    """Return, for each embedding, the position of the first equal one, or -1 if it is the first.

    Args:
        vectors: The embeddings divided by their lengths, shape (n, dim), in memory or on disk.
        lengths: Their lengths, shape (n,).
        hashes: Their `hash_cells`, shape (n,) for each grid.

    """
    itself = np.arange(len(lengths))
    firsts = itself.copy()
    for one in hashes:
        _, places, inverse = np.unique(one, return_index=True, return_inverse=True)
        others = places[inverse].astype(np.int64)
        rows = np.flatnonzero((others != itself) & (firsts == itself))
        for block in blocks(len(rows)):
            some = rows[block]
            is_equal = _are_equal(vectors, lengths, some, others[some])
            firsts[some[is_equal]] = others[some[is_equal]]
    # The first one in a cell may equal an earlier one in another cell.
    for _ in hashes:
        firsts = firsts[firsts]
    return np.where(firsts == itself, -1, firsts)


def _are_equal(vectors: Vectors, lengths: Floats, some: Numbers, others: Numbers) -> Numbers:
    own = np.asarray(vectors[some])
    differences = np.abs(own - vectors[others]).max(axis=1)
    are_equal = differences <= TOLERANCE * np.abs(own).max(axis=1)
    are_equal &= np.abs(lengths[some] - lengths[others]) <= TOLERANCE * lengths[some]
    return np.asarray(are_equal)
