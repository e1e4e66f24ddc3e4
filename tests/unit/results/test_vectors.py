import numpy as np

from xvectors.results.vectors import normalize_lengths


def test_lengths_become_one_and_zero_stays():
    embeddings = np.array([[3, 4], [0, 0], [-2, 0]], dtype=np.float32)
    found = normalize_lengths(embeddings)
    assert found.dtype == np.float32
    assert np.allclose(found, [[0.6, 0.8], [0, 0], [-1, 0]])
    assert normalize_lengths(np.zeros((0, 5), dtype=np.float32)).shape == (0, 5)
