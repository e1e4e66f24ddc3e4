from itertools import combinations

import numpy as np
import pytest

from tests.support.made_split import make_voices
from xvectors.report.embedding_space import (
    GRID,
    coherence,
    density,
    neighbour_map,
    principal_components,
    scored_pairs,
)
from xvectors.results.vectors import normalize_lengths

# At 0 and 60 degrees one speaker, at 90 and 180 the other: every cosine is known.
ANGLES = np.radians([0, 60, 90, 180])
PLANE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
TWO_BY_TWO = np.array([0, 0, 1, 1])


def test_principal_components_of_points_on_a_cross():
    cross = np.array([[0, 3, 0], [0, -3, 0], [1, 0, 0], [-1, 0, 0]], dtype=np.float32) + 5
    found = principal_components(cross)
    np.testing.assert_allclose(found.points, [[3, 0], [-3, 0], [0, 1], [0, -1]], atol=1e-9)
    np.testing.assert_allclose(found.shares, [0.9, 0.1])


def test_principal_components_of_what_does_not_vary():
    for vectors in (np.ones((5, 3)), np.ones((1, 3))):
        found = principal_components(vectors.astype(np.float32))
        assert not found.points.any()
        assert found.shares == (0, 0)
        assert found.points.shape == (len(vectors), 2)


def test_principal_components_of_a_single_dimension():
    found = principal_components(np.array([[1], [3]], dtype=np.float32))
    np.testing.assert_allclose(found.points, [[-1, 0], [1, 0]])
    assert found.shares == (1, 0)


def test_neighbours_stay_together_in_their_map():
    speakers, embeddings = make_voices(3, 10, spread=0.1)
    points = neighbour_map(normalize_lengths(embeddings))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    assert [speakers[i] for i in nearest] == speakers


def test_all_pairs_where_they_are_few():
    pairs = scored_pairs(PLANE, TWO_BY_TWO, limit=4)
    found = sorted(zip(pairs.scores.round(6), pairs.is_target, strict=True))
    cosines = [np.cos(np.radians(angle)) for angle in (60, 90, 90, 180, 30, 120)]
    kinds = [True, False, True, False, False, False]
    assert found == sorted(zip(np.round(cosines, 6), kinds, strict=True))


def test_pairs_are_those_of_a_double_loop():
    speakers = np.array([0, 0, 0, 1, 2, 2, 3])
    vectors = normalize_lengths(make_voices(7, 1)[1])
    pairs = scored_pairs(vectors, speakers, limit=100)
    found = sorted(zip(pairs.scores.round(5), map(tuple, pairs.speakers), strict=True))
    expected = [
        (np.round(vectors[i] @ vectors[j], 5), (speakers[i], speakers[j]))
        for i, j in combinations(range(7), 2)
    ]
    assert [pair for _, pair in found] == [pair for _, pair in sorted(expected)]
    np.testing.assert_allclose([s for s, _ in found], [s for s, _ in sorted(expected)], atol=2e-5)


def test_of_many_pairs_some_are_drawn_each_as_likely():
    speakers = np.repeat([0, 1], [30, 10])
    vectors = normalize_lengths(make_voices(40, 1)[1])
    pairs = scored_pairs(vectors, speakers, limit=100)
    assert (pairs.is_target.sum(), len(pairs.scores)) == (100, 200)
    same = pairs.speakers[:, 0] == pairs.speakers[:, 1]
    assert (same == pairs.is_target).all()
    # 435 pairs of the first speaker, 45 of the second.
    assert 80 <= (pairs.speakers[pairs.is_target, 0] == 0).sum() <= 99
    again = scored_pairs(vectors, speakers, limit=100)
    assert (again.scores == pairs.scores).all()


def test_drawn_pairs_are_of_two_utterances():
    speakers = np.repeat([0, 1], 20)
    vectors = np.eye(40, dtype=np.float32)
    assert not scored_pairs(vectors, speakers, limit=50).scores.any()


def test_coherence_is_the_mean_cosine_of_pairs():
    np.testing.assert_allclose(coherence(PLANE, TWO_BY_TWO), [0.5, 0], atol=1e-6)
    speakers = np.array([0, 0, 0, 1])
    three = np.cos(np.radians([60, 90, 30])).mean()
    np.testing.assert_allclose(coherence(PLANE, speakers), [three, np.nan], atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_zero_vectors_are_similar_to_nothing(n: int):
    zeros = np.zeros((n, 4), dtype=np.float32)
    speakers = np.zeros(n, dtype=int)
    assert not scored_pairs(zeros, speakers, 10).scores.any()
    assert not np.nan_to_num(coherence(zeros, speakers)).any()


def test_other_vectors_are_projected_onto_the_same_components():
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    found = principal_components(vectors)
    assert found.project(vectors[:7]) == pytest.approx(found.points[:7], abs=1e-6)
    (alike,) = principal_components(np.ones((3, 4), np.float32)).project(np.ones((1, 4)))
    assert alike.tolist() == [0, 0]


def test_a_density_counts_all_points():
    found = density(np.array([[0.0, 0.0], [0.0, 0.0], [4.0, 1.0]]))
    assert found.counts.shape == GRID
    assert (found.counts[0, 0], found.counts[-1, -1], found.counts.sum()) == (2, 1, 3)
    assert (found.x_edges[0], found.x_edges[-1], found.y_edges[-1]) == (0, 4, 1)
