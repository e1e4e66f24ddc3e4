import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from sklearn.metrics import normalized_mutual_info_score

from xvectors.results import agglomeration
from xvectors.results.agglomeration import Merges, agglomerate, choose_cut, group_vectors, join
from xvectors.results.vectors import normalize_lengths

from ...support.made_split import make_voices


def voices(n_speakers, n_utterances, seed=0):
    speakers, embeddings = make_voices(n_speakers, n_utterances, seed=seed)
    return normalize_lengths(embeddings), np.unique(speakers, return_inverse=True)[1]


def once(vectors):
    return np.ones(len(vectors), dtype=np.int64)


def same_division(one, other):
    """Tell whether two numberings make the same groups."""
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


@pytest.mark.parametrize("seed", range(5))
def test_the_tree_is_scipys(seed):
    vectors, _ = voices(8, 12, seed)
    merges = agglomerate(vectors, once(vectors))
    tree = linkage(pdist(vectors.astype(float), "cosine"), "average")
    assert np.allclose(np.sort(1 - merges.cosines), np.sort(tree[:, 2]), atol=1e-6)
    for distance in (0.2, 0.5, 0.9):
        ours = join(merges, len(vectors), 1 - distance)
        assert same_division(ours, fcluster(tree, distance, "distance"))


def test_a_vector_that_counts_twice_is_two_equal_ones():
    vectors, _ = voices(4, 5)
    sizes = once(vectors)
    sizes[3] = 3
    weighted = agglomerate(vectors, sizes)
    repeated = agglomerate(np.concatenate([vectors, vectors[[3, 3]]]), once(range(22)))
    assert np.allclose(
        np.sort(weighted.cosines), np.sort(repeated.cosines)[: len(weighted.cosines)], atol=1e-6
    )


def test_vectors_are_left_as_they_are():
    vectors, _ = voices(3, 4)
    before = vectors.copy()
    agglomerate(vectors, once(vectors))
    assert np.array_equal(vectors, before)


def test_ties_end():
    vectors = np.zeros((50, 4), dtype=np.float32)
    assert len(agglomerate(vectors, once(vectors)).cosines) == 49
    vectors[:25, 0] = vectors[25:, 1] = 1
    groups = group_vectors(vectors, once(vectors))
    assert same_division(groups.numbers, np.arange(50) // 25)


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_merge(n):
    vectors = np.ones((n, 4), dtype=np.float32)
    assert len(agglomerate(vectors, once(vectors)).cosines) == 0
    assert group_vectors(vectors, once(vectors)).threshold == np.inf


def merges_of(*cosines, smaller=1):
    found = np.concatenate([np.atleast_1d(one) for one in cosines]).astype(float)
    places = np.arange(len(found))
    return Merges(places, places + 1, found, np.broadcast_to(smaller, len(found)))


def test_the_cut_parts_two_kinds_of_merges():
    random = np.random.default_rng(0)
    within, between = random.normal(0.6, 0.05, 3000), random.normal(0.1, 0.05, 300)
    assert between.max() < choose_cut(merges_of(within, between)) < within.min()
    assert choose_cut(merges_of(np.full(9, 0.5))) == np.inf


def test_a_merge_counts_by_its_smaller_cluster():
    cosines = [0.9, 0.5, 0.0]
    assert choose_cut(merges_of(*cosines, smaller=[9, 9, 1])) == pytest.approx(0.7)
    assert choose_cut(merges_of(*cosines, smaller=[9, 9, 20])) == pytest.approx(0.25)


def test_merges_of_merges_are_joined():
    places = np.array([3, 1, 0]), np.array([4, 3, 2])
    merges = Merges(*places, np.array([0.9, 0.8, 0.1]), np.ones(3, dtype=np.int64))
    assert join(merges, 5, 0.5).tolist() == [0, 1, 2, 1, 1]


@pytest.mark.parametrize(("n_speakers", "n_utterances"), [(5, 20), (40, 10), (100, 4)])
def test_speakers_are_found(n_speakers, n_utterances):
    vectors, labels = voices(n_speakers, n_utterances)
    numbers = group_vectors(vectors, once(vectors)).numbers
    assert len(set(numbers.tolist())) == pytest.approx(n_speakers, rel=0.05)
    assert normalized_mutual_info_score(labels, numbers) > 0.98


@pytest.mark.parametrize(("most", "part"), [(500, 200), (70, 200)])
def test_many_vectors_are_agglomerated_in_parts(most, part, monkeypatch):
    vectors, labels = voices(60, 20)
    monkeypatch.setattr(agglomeration, "MAX_ROWS_AT_ONCE", most)
    monkeypatch.setattr(agglomeration, "PART_ROWS", part)
    numbers = group_vectors(vectors, once(vectors)).numbers
    assert same_division(numbers, labels)
