"""Vectors: their types, and their normalization."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]


def normalize_lengths(embeddings: Vectors) -> Vectors:
    """Return embeddings, shape (n, dim), divided by their lengths; a zero vector stays zero."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.where(lengths > 0, lengths, 1), dtype=np.float32)
