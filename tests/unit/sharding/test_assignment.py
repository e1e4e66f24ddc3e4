import numpy as np
import pytest

from xvectors.sharding.assignment import assign_shards, utterance_key


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
