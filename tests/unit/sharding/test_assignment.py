import numpy as np
import pytest

from xvectors.sharding.assignment import NO_CONTAINER, assign_shards, utterance_key


def lengths(n_utterances: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    keys = [utterance_key(f"utt{i}") for i in range(n_utterances)]
    return np.array(keys), generator.lognormal(1.6, 0.6, n_utterances)


def loads(seconds: np.ndarray, shards: np.ndarray, n_shards: int) -> np.ndarray:
    return np.bincount(shards, seconds, n_shards)


def by_shard(keys: np.ndarray, shards: np.ndarray, n_shards: int) -> dict[int, np.ndarray]:
    return {shard: keys[shards == shard] for shard in range(n_shards)}


@pytest.mark.parametrize(("n_utterances", "n_shards"), [(60, 5), (1000, 8), (5000, 100)])
def test_shards_are_balanced_by_duration(n_utterances, n_shards):
    keys, seconds = lengths(n_utterances)
    totals = loads(seconds, assign_shards(keys, seconds, n_shards), n_shards)
    assert max(totals) <= 1.05 * sum(totals) / n_shards


def test_the_order_of_the_manifest_does_not_matter():
    keys, seconds = lengths(50)
    backward = assign_shards(keys[::-1], seconds[::-1], 4)
    assert backward[::-1].tolist() == assign_shards(keys, seconds, 4).tolist()


def test_a_new_utterance_moves_no_other():
    keys, seconds = lengths(60)
    shards = assign_shards(keys, seconds, 5)
    new = utterance_key("new")
    earlier = by_shard(keys, shards, 5)
    later = assign_shards(np.append(new, keys), np.append(3.0, seconds), 5, earlier)
    assert later[1:].tolist() == shards.tolist()


def test_balance_comes_before_staying():
    keys, seconds = lengths(100)
    totals = loads(seconds, assign_shards(keys, seconds, 4, {0: keys}), 4)
    assert max(totals) <= 1.1 * sum(totals) / 4 + 2 * max(seconds)


def test_more_shards_than_utterances_leave_some_empty():
    keys, seconds = lengths(2)
    assert sorted(assign_shards(keys, seconds, 4)) == [0, 1]


def test_the_members_of_small_containers_stay_together():
    keys, seconds = lengths(1000)
    containers = np.arange(1000) // 10
    shards = assign_shards(keys, seconds, 4, containers=containers)
    assert all(len(set(shards[containers == number])) == 1 for number in range(100))
    totals = loads(seconds, shards, 4)
    assert max(totals) <= 1.1 * sum(totals) / 4


@pytest.mark.parametrize("n_containers", [1, 3])
def test_a_large_container_is_cut_into_few_pieces(n_containers):
    keys, seconds = lengths(1000)
    containers = np.arange(1000) % n_containers
    shards = assign_shards(keys, seconds, 4, containers=containers)
    totals = loads(seconds, shards, 4)
    assert max(totals) <= 1.15 * sum(totals) / 4
    n_pieces = sum(
        1 + (np.diff(shards[containers == one]) != 0).sum() for one in range(n_containers)
    )
    assert n_pieces <= 20


def test_files_beside_containers():
    keys, seconds = lengths(100)
    containers = np.where(np.arange(100) < 50, NO_CONTAINER, 0)
    shards = assign_shards(keys, seconds, 3, containers=containers)
    totals = loads(seconds, shards, 3)
    assert max(totals) <= 1.1 * sum(totals) / 3
    none = np.full(100, NO_CONTAINER)
    expected = assign_shards(keys, seconds, 3)
    assert assign_shards(keys, seconds, 3, containers=none).tolist() == expected.tolist()


def test_a_new_container_moves_no_other():
    keys, seconds = lengths(1010)
    containers = np.arange(1010) // 10
    shards = assign_shards(keys[:1000], seconds[:1000], 4, containers=containers[:1000])
    earlier = by_shard(keys[:1000], shards, 4)
    later = assign_shards(keys, seconds, 4, earlier, containers)
    assert later[:1000].tolist() == shards.tolist()


def test_no_utterance_at_all():
    nothing = np.zeros(0, dtype=np.int64)
    assert assign_shards(nothing, np.zeros(0), 2, containers=nothing).tolist() == []
