"""Random embeddings around a center per speaker, for measurements of speed."""

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np

DIM = 192
UTTERANCES_PER_SPEAKER = 100
ROWS_AT_A_TIME = 10_000


class MadeVectors(NamedTuple):
    """Vectors of length 1, (n, DIM), in a file; their speakers, (n,); centers, (speakers, DIM)."""

    vectors: np.memmap
    labels: np.ndarray
    centers: np.ndarray


@contextmanager
def made_vectors(size: int) -> Iterator[MadeVectors]:
    """Make so many vectors, and forget them at the end."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(size // UTTERANCES_PER_SPEAKER, DIM)).astype(np.float32)
    labels = random.integers(len(centers), size=size)
    with TemporaryFile() as store:
        for start in range(0, size, ROWS_AT_A_TIME):
            rows = centers[labels[start : start + ROWS_AT_A_TIME]]
            rows = rows + random.normal(size=rows.shape).astype(np.float32)
            store.write((rows / np.linalg.norm(rows, axis=1, keepdims=True)).tobytes())
        store.flush()
        yield MadeVectors(np.memmap(store, np.float32, "r", shape=(size, DIM)), labels, centers)
