"""Sharding: which job embeds which utterances.

Shards are balanced by duration, and an utterance keeps its shard when others come or go, as
far as balance allows, so that a changed manifest re-runs few jobs. Long utterances choose
first: each stays in the shard that it had, if that has room, and else takes the emptiest one
(without earlier shards this is longest-processing-time-first scheduling, Graham 1969,
doi:10.1137/0117039, whose fullest shard is at most one utterance above a fair share).
"""

import contextlib
import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xvectors.audio.segment import Segment
from xvectors.audio.signals import audio_version, durations
from xvectors.errors import ShardError
from xvectors.files import remove_leftovers, write_atomically, write_if_changed
from xvectors.layout import Layout, shard_names
from xvectors.manifest import Manifest, Utterance, locate_audio
from xvectors.sealed import seal, unseal

# Seconds of audio that the handling of one file is worth, whatever its length.
FILE_OVERHEAD = 0.1
# How far above a fair share, apart from its longest utterance, a shard may grow over time
# before utterances move.
TOLERANCE = 1.1
# Audio files whose headers are read at a time.
FILES_AT_A_TIME = 100_000

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class IndexShard:
    """The utterances of one job, in manifest order.

    `positions` are the utterances' places in the manifest, which a runner gets as indices;
    `wav_paths` and `segments` are as the manifest has them; `seconds` are 0 where the file
    cannot be read;
    `audio` is a hash of the audio files' names and versions, see `hash_audio`.
    """

    positions: list[int]
    utt_ids: list[str]
    wav_paths: list[str]
    segments: list[Segment | None]
    seconds: list[float]
    audio: str


@dataclass(frozen=True)
class Plan:
    """The summary of a split's shards; `manifest` is a hash of the manifest's content."""

    n_shards: int
    n_utterances: int
    audio_seconds: float
    manifest: str


def assign_shards(
    keys: Numbers, seconds: Floats, n_shards: int, earlier: Mapping[int, Numbers] | None = None
) -> Numbers:
    """Return the shard, 0 to `n_shards` - 1, of each of n utterances.

    Args:
        keys: The utterances' keys, shape (n,), see `utterance_key`.
        seconds: Their durations, shape (n,).
        n_shards: The number of shards.
        earlier: For each shard the keys of the utterances that it had before, to be kept where
            balance allows.

    """
    weights = seconds + FILE_OVERHEAD
    room = TOLERANCE * float(weights.sum()) / n_shards + float(weights.max(initial=0.0))
    loads = [0.0] * n_shards
    shards = _earlier_of(keys, earlier or {})
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


def utterance_key(utt_id: str) -> int:
    """Return a hash of an utterance's name, 64 bits, the same at all times."""
    digest = hashlib.blake2b(utt_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def split_manifest(manifest: Manifest, split: str, n_shards: int, layout: Layout) -> None:
    """Write a split's index shards, and then its plan, which vouches for them.

    An index shard that stays as it was is not written again, so that its job need not run.
    Shards of an earlier, other number are removed.
    """
    utterances = manifest.utterances
    keys = np.empty(len(utterances), dtype=np.int64)
    seconds = np.empty(len(utterances))
    unknown = []
    for i, utterance in enumerate(utterances):
        keys[i] = utterance_key(utterance.utt_id)
        seconds[i] = utterance.seconds or 0.0
        if utterance.seconds is None:
            unknown.append(i)
    seconds[unknown] = np.fromiter(_stated_seconds(manifest, unknown), float, len(unknown))
    seconds = seconds.round(4)
    names = shard_names(n_shards)
    paths = [layout.index_shard(split, name) for name in names]
    shards = assign_shards(keys, seconds, n_shards, _earlier_shards(paths))
    folder = layout.index_shard(split, "any").parent
    folder.mkdir(parents=True, exist_ok=True)
    _remove_other_shards(folder, set(names))
    by_shard = np.argsort(shards, kind="stable")
    ends = np.bincount(shards, minlength=n_shards).cumsum()
    for path, positions in zip(paths, np.split(by_shard, ends[:-1]), strict=True):
        members = list(utterances.at(positions.tolist()))
        content = _index_shard(manifest.path, positions, members, seconds[positions])
        write_if_changed(path, seal(vars(content)))
    plan = Plan(n_shards, len(utterances), round(float(seconds.sum()), 3), manifest.digest)
    write_atomically(layout.plan(split), seal(vars(plan)))


def _index_shard(
    manifest_path: Path, positions: Numbers, utterances: list[Utterance], seconds: Floats
) -> IndexShard:
    wav_paths = [utterance.wav_path for utterance in utterances]
    return IndexShard(
        positions.tolist(),
        [utterance.utt_id for utterance in utterances],
        wav_paths,
        [utterance.segment for utterance in utterances],
        seconds.tolist(),
        hash_audio(manifest_path, wav_paths),
    )


def read_plan(path: Path) -> Plan | None:
    """Return a split's plan, None where there is none or a damaged one."""
    try:
        return Plan(**unseal(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def hash_audio(manifest_path: Path, wav_paths: Iterable[str]) -> str:
    """Return a hash of audio files' names and present versions."""
    digest = hashlib.sha256()
    for wav_path in wav_paths:
        version = audio_version(locate_audio(manifest_path, wav_path))
        digest.update(f"{wav_path}\t{version}\n".encode())
    return digest.hexdigest()


def read_index_shard(path: Path) -> IndexShard:
    """Read an index shard.

    Raises:
        ShardError: The file is missing or damaged.

    """
    try:
        content = unseal(path.read_bytes())
        content["segments"] = [segment and Segment(*segment) for segment in content["segments"]]
        return IndexShard(**content)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ShardError(f"{path}: no index shard ({error}); run the same command again") from error


def _stated_seconds(manifest: Manifest, positions: list[int]) -> Iterator[float]:
    """Yield the seconds that the headers of utterances' files state, 0 for unreadable ones."""
    utterances = manifest.utterances.at(positions)
    while some := list(islice(utterances, FILES_AT_A_TIME)):
        yield from durations([locate_audio(manifest.path, one.wav_path) for one in some])


def _earlier_shards(paths: list[Path]) -> dict[int, Numbers]:
    """Return the keys of the utterances that an earlier split of as many shards gave to each."""
    earlier = {}
    for shard, path in enumerate(paths):
        if path.is_file():
            with contextlib.suppress(ShardError):  # damaged: its utterances come as new ones
                utt_ids = read_index_shard(path).utt_ids
                keys = (utterance_key(utt_id) for utt_id in utt_ids)
                earlier[shard] = np.fromiter(keys, np.int64, len(utt_ids))
    return earlier


def _earlier_of(keys: Numbers, earlier: Mapping[int, Numbers]) -> Numbers:
    """Return the shard that each utterance had before, -1 for none."""
    known = np.concatenate([np.zeros(0, dtype=np.int64), *earlier.values()])
    sizes = [len(one) for one in earlier.values()]
    shards = np.repeat(np.fromiter(earlier, np.int64, len(earlier)), sizes)
    if not len(known):
        return np.full(len(keys), -1)
    order = known.argsort()
    places = np.searchsorted(known, keys, sorter=order).clip(max=len(known) - 1)
    return np.where(known[order[places]] == keys, shards[order[places]], -1)


def _remove_other_shards(folder: Path, names: set[str]) -> None:
    remove_leftovers(folder)
    for path in folder.iterdir():
        if path.stem not in names:
            path.unlink()
