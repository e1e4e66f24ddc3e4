"""Sharding: which job embeds which utterances.

Shards are balanced by duration. An utterance keeps its shard when others come or go, as far as
balance allows, so that a changed manifest re-runs few jobs. Long utterances choose first: each
stays in its earlier shard if that has room, and otherwise takes the emptiest one. Without earlier
shards this is longest-processing-time-first scheduling (Graham 1969, doi:10.1137/0117039), whose
fullest shard is at most one utterance above a fair share.

Utterances in one container, such as a tar, stay together in pieces that are far smaller than a
shard, so that few jobs read it, and each of them forwards.
"""

import hashlib
import heapq
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# Cost of handling one file of any length, in seconds of audio.
FILE_OVERHEAD = 0.1
# How far above a fair share, apart from its longest utterance, a shard may grow over time
# before utterances move.
TOLERANCE = 1.1
# The largest piece of a container, as a part of a fair share.
PIECE = 0.25
NO_CONTAINER = -1
Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
Number = TypeVar("Number", np.int64, np.float64)


def assign_shards(
    keys: Numbers,
    seconds: Floats,
    n_shards: int,
    earlier: Mapping[int, Numbers] | None = None,
    containers: Numbers | None = None,
) -> Numbers:
    """Return the shard, 0 to `n_shards` - 1, of each of n utterances.

    Args:
        keys: The utterances' keys, shape (n,), see `utterance_key`.
        seconds: Their durations, shape (n,).
        n_shards: The number of shards.
        earlier: For each shard the keys of the utterances that it had before, to be kept where
            balance allows.
        containers: The numbers of the containers that they lie in, in the order in which they lie
            there, shape (n,); `NO_CONTAINER` for files. None if all are files.

    """
    weights = seconds + FILE_OVERHEAD
    earlier = earlier or {}
    known = np.concatenate([np.zeros(0, dtype=np.int64), *earlier.values()])
    numbers = np.fromiter(earlier, np.int64, len(earlier))
    shards = np.repeat(numbers, [len(one) for one in earlier.values()])
    before = look_up(keys, known, shards, -1)
    if containers is None:
        return _assign(keys, weights, n_shards, before)
    heads_of_all = _group(containers, weights, PIECE * float(weights.sum()) / n_shards)
    heads, groups = np.unique(heads_of_all, return_inverse=True)
    sums = np.bincount(groups, weights).astype(np.float64)
    return _assign(keys[heads], sums, n_shards, before[heads])[groups]


def _assign(keys: Numbers, weights: Floats, n_shards: int, earlier: Numbers) -> Numbers:
    """Return the shard of each utterance, or of each piece of a container.

    `earlier` has the shard that each had before, -1 for none.
    """
    room = TOLERANCE * float(weights.sum()) / n_shards + float(weights.max(initial=0.0))
    loads = [0.0] * n_shards
    shards = earlier.copy()
    longest_first = np.lexsort((keys, -weights))
    newcomers = []
    for i in longest_first.tolist():
        shard = int(shards[i])
        if shard < 0 or loads[shard] + weights[i] > room:
            newcomers.append(i)
        else:
            loads[shard] += float(weights[i])
    by_load = [(load, shard) for shard, load in enumerate(loads)]
    heapq.heapify(by_load)
    for i in newcomers:
        load, shards[i] = by_load[0]
        heapq.heapreplace(by_load, (load + float(weights[i]), int(shards[i])))
    return shards


def _group(containers: Numbers, weights: Floats, most: float) -> Numbers:
    """Return, for each utterance, the first one of the piece of a container that it belongs to.

    An utterance that is a file belongs to itself. A piece weighs `most`, and one utterance more at
    the most.
    """
    heads = np.arange(len(containers))
    members = np.flatnonzero(containers != NO_CONTAINER)
    members = members[containers[members].argsort(kind="stable")]
    if not len(members):
        return heads
    before = weights[members].cumsum() - weights[members]
    is_first = np.diff(containers[members], prepend=NO_CONTAINER) != 0
    before -= np.maximum.accumulate(np.where(is_first, before, 0.0))
    pieces = (before // most).astype(np.int64)
    is_first |= np.diff(pieces, prepend=0) != 0
    lengths = np.diff(np.append(np.flatnonzero(is_first), len(members)))
    heads[members] = np.repeat(members[is_first], lengths)
    return heads


def utterance_key(utt_id: str) -> int:
    """Return a 64-bit hash of an utterance's name, the same in every process."""
    digest = hashlib.blake2b(utt_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def look_up(
    keys: Numbers, known: Numbers, values: NDArray[Number], missing: float
) -> NDArray[Number]:
    """Return the value of each key, shape (n,), `missing` for a key that is not known.

    The `known` keys may be in any order. They and their `values` have shape (m,).
    """
    found = np.full(len(keys), missing, dtype=values.dtype)
    if len(known):
        order = known.argsort()
        places = order[np.searchsorted(known, keys, sorter=order).clip(max=len(known) - 1)]
        is_known = known[places] == keys
        found[is_known] = values[places[is_known]]
    return found
