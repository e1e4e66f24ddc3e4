import numpy as np
import pytest

from xvectors.results.duplicates import TOLERANCE, find_duplicates, hash_cells
from xvectors.results.vectors import normalize_lengths


def duplicates(embeddings):
    embeddings = np.asarray(embeddings, dtype=np.float32)
    vectors = normalize_lengths(embeddings)
    hashes = np.array([hash_cells(vector) for vector in vectors]).reshape(-1, 2).T
    return find_duplicates(vectors, np.linalg.norm(embeddings, axis=1), list(hashes)).tolist()


@pytest.mark.parametrize("dim", [16, 192])
def test_embeddings_that_differ_by_rounding_are_the_same(dim):
    random = np.random.default_rng(0)
    embeddings = 30 * random.standard_normal((500, dim))
    largest = np.abs(embeddings).max(axis=1, keepdims=True)
    rounded = embeddings + 1e-6 * largest * random.uniform(-1, 1, embeddings.shape)
    found = duplicates(np.concatenate([embeddings, rounded, rounded]))
    assert found == [-1] * 500 + 2 * list(range(500))


def test_close_embeddings_are_not_the_same():
    one = np.array([3.0, 4.0, 0.1])
    apart = np.array([0.0, 0.0, 10 * TOLERANCE])
    assert duplicates([one, one + apart, 1.01 * one, one]) == [-1, -1, -1, 0]


def test_silence_and_an_empty_split():
    assert duplicates(np.zeros((3, 4))) == [-1, 0, 0]
    assert duplicates(np.zeros((0, 4))) == []
