import numpy as np

from xvectors.results import vectors
from xvectors.results.vectors import blocks, nearest_means, normalize_lengths, sum_groups


def test_lengths_become_one_and_zero_stays():
    embeddings = np.array([[3, 4], [0, 0], [-2, 0]], dtype=np.float32)
    found = normalize_lengths(embeddings)
    assert found.dtype == np.float32
    assert np.allclose(found, [[0.6, 0.8], [0, 0], [-1, 0]])
    assert normalize_lengths(np.zeros((0, 5), dtype=np.float32)).shape == (0, 5)


def test_blocks_cover_all_rows_within_the_memory():
    for n_rows, n_products in ((0, 1), (10_000, 1), (3 * 4096, 2**20), (5, 2**40)):
        found = list(blocks(n_rows, n_products))
        rows = [row for block in found for row in range(block.start, block.stop)]
        assert rows == list(range(n_rows))
        sizes = [block.stop - block.start for block in found]
        assert all(size == 1 or size * n_products <= 2**26 for size in sizes)


def test_sums_of_groups_by_hand(monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_ROWS", 2)
    rows = np.array([[1, 0], [0, 1], [2, 2], [4, 0], [8, 8]], dtype=np.float32)
    sums = sum_groups(rows, np.array([2, 0, 2, 0, 0]), 4, np.array([1, 1, 3, 0, 1]))
    assert sums.tolist() == [[8, 9], [0, 0], [7, 6], [0, 0]]


def test_the_nearest_mean_but_the_excluded_one(monkeypatch):
    monkeypatch.setattr(vectors, "BLOCK_ROWS", 3)
    random = np.random.default_rng(0)
    rows = random.normal(size=(8, 4)).astype(np.float32)
    means = random.normal(size=(5, 4)).astype(np.float32)
    excluded = random.integers(5, size=8)
    expected = rows @ means.T
    expected[np.arange(8), excluded] = -np.inf
    nearest, products = nearest_means(rows, means, excluded)
    assert nearest.tolist() == expected.argmax(axis=1).tolist()
    assert np.allclose(products, expected.max(axis=1))
