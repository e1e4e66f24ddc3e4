"""Splitting a manifest: which job embeds which utterances.

Shards are balanced by duration. An utterance keeps its shard when others come or go, as far as
balance allows, so a changed manifest re-runs few jobs. Long utterances choose first: each stays in
its earlier shard if that has room, and otherwise takes the emptiest one. Without earlier shards
this is longest-processing-time-first scheduling (Graham 1969, doi:10.1137/0117039), whose fullest
shard is at most one utterance above a fair share.
"""

import contextlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xvectors.audio.opening import durations
from xvectors.config.layout import Layout, shard_names
from xvectors.errors import ShardError
from xvectors.files.atomic import remove_leftovers, write_atomically, write_if_changed
from xvectors.files.checksummed_json import dump_checksummed
from xvectors.manifest.lines import Utterance
from xvectors.manifest.reading import Manifest, locate_audio
from xvectors.sharding.assignment import Floats, Numbers, assign_shards, utterance_key
from xvectors.sharding.index_shards import IndexShard, Plan, hash_audio, read_index_shard
from xvectors.sharding.shard_count import automatic_shards

# Audio files whose headers are read at a time.
FILES_AT_A_TIME = 100_000
# Assumed for the number of shards where no header tells.
UNKNOWN_SECONDS = 5.0
Flags = NDArray[np.bool_]


class Division(NamedTuple):
    """A split's plan, and its index shards by name, made one at a time."""

    plan: Plan
    shards: Iterator[tuple[str, IndexShard]]


def split_manifest(manifest: Manifest, split: str, n_shards: int | None, layout: Layout) -> None:
    """Write a split's index shards, and then its plan, which vouches for them.

    An unchanged index shard is not written again. Shards of another number are removed.

    Args:
        manifest: The split's manifest.
        split: Name of the split.
        n_shards: The number of shards; None to choose it by the hours of audio.
        layout: Where the shards lie.

    """
    folder = layout.plan(split).with_suffix("")
    division = divide(manifest, n_shards, EarlierShards(manifest.path, folder))
    folder.mkdir(parents=True, exist_ok=True)
    _remove_other_shards(folder, set(shard_names(division.plan.n_shards)))
    for name, shard in division.shards:
        write_if_changed(layout.index_shard(split, name), dump_checksummed(vars(shard)))
    write_atomically(layout.plan(split), dump_checksummed(vars(division.plan)))


class EarlierShards:
    """The shards of an earlier split: who was where, and durations that need not be read again."""

    def __init__(self, manifest_path: Path, folder: Path) -> None:
        """Read the index shards in `folder`; damaged ones count as missing."""
        self._keys: dict[str, Numbers] = {}
        wav_keys, seconds = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
        for path in sorted(folder.glob("*-of-*.json")):
            with contextlib.suppress(ShardError):
                shard = read_index_shard(path)
                self._keys[path.stem] = _keys(shard.utt_ids)
                if not shard.stated and shard.audio == hash_audio(manifest_path, shard.wav_paths):
                    wav_keys.append(_keys(shard.wav_paths))
                    seconds.append(np.asarray(shard.seconds))
        known = np.concatenate(seconds)
        # A duration of 0 could not be read. It is asked for again.
        keys = np.concatenate(wav_keys)[known > 0]
        order = keys.argsort()
        self._wav_keys, self._seconds = keys[order], known[known > 0][order]

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._keys)

    def keys(self, n_shards: int) -> dict[int, Numbers]:
        """Return the keys of the utterances of each shard, if there were as many shards."""
        names = enumerate(shard_names(n_shards))
        return {number: self._keys[name] for number, name in names if name in self._keys}

    def seconds(self, wav_keys: Numbers) -> Floats:
        """Return the durations of unchanged recordings, shape (n,), nan for all others."""
        if not len(self._wav_keys):
            return np.full(len(wav_keys), np.nan)
        places = np.searchsorted(self._wav_keys, wav_keys).clip(max=len(self._wav_keys) - 1)
        return np.where(self._wav_keys[places] == wav_keys, self._seconds[places], np.nan)


class TooManyHeadersError(Exception):
    """More headers of audio files are to be read than was allowed."""


def divide(
    manifest: Manifest, n_shards: int | None, earlier: EarlierShards, max_headers: int | None = None
) -> Division:
    """Divide a manifest among shards; nothing is written.

    Args:
        manifest: The split's manifest.
        n_shards: The number of shards; None to choose it by the hours of audio.
        earlier: The shards of an earlier split.
        max_headers: How many audio files may be opened for their durations; None for no limit.

    Raises:
        TooManyHeadersError: Too many durations are unknown.

    """
    utterances = manifest.utterances
    keys = np.empty(len(utterances), dtype=np.int64)
    seconds = np.empty(len(utterances))
    unstated, wav_keys = [], []
    for i, utterance in enumerate(utterances):
        keys[i] = utterance_key(utterance.utt_id)
        seconds[i] = utterance.seconds or 0.0
        if utterance.seconds is None:
            unstated.append(i)
            wav_keys.append(utterance_key(utterance.wav_path))
    is_stated = np.ones(len(utterances), dtype=bool)
    is_stated[unstated] = False
    seconds[unstated] = earlier.seconds(np.asarray(wav_keys, dtype=np.int64))
    unknown = np.flatnonzero(np.isnan(seconds)).tolist()
    if max_headers is not None and len(unknown) > max_headers:
        raise TooManyHeadersError(f"{manifest.path}: {len(unknown)} unknown durations")
    seconds[unknown] = np.fromiter(_header_seconds(manifest, unknown), float, len(unknown))
    seconds = seconds.round(4)
    total = float(seconds.sum())
    if n_shards is None:
        n_shards = automatic_shards(total + UNKNOWN_SECONDS * int((seconds == 0).sum()))
    shards = assign_shards(keys, seconds, n_shards, earlier.keys(n_shards))
    by_shard = np.argsort(shards, kind="stable")
    ends = np.bincount(shards, minlength=n_shards).cumsum()
    members = np.split(by_shard, ends[:-1])
    named = zip(shard_names(n_shards), members, strict=True)
    return Division(
        Plan(n_shards, len(utterances), round(total, 3), manifest.digest),
        (
            (name, _index_shard(manifest, positions, seconds[positions], is_stated[positions]))
            for name, positions in named
        ),
    )


def has_new_durations(manifest_path: Path, shard: IndexShard) -> bool:
    """Tell whether a duration of a shard can be read now that could not be read before."""
    paths = [
        locate_audio(manifest_path, wav_path)
        for wav_path, seconds in zip(shard.wav_paths, shard.seconds, strict=True)
        if not seconds
    ]
    return bool(paths) and any(durations(paths))


def _index_shard(
    manifest: Manifest, positions: Numbers, seconds: Floats, is_stated: Flags
) -> IndexShard:
    utterances: Sequence[Utterance] = list(manifest.utterances.at(positions.tolist()))
    wav_paths = [utterance.wav_path for utterance in utterances]
    return IndexShard(
        positions.tolist(),
        [utterance.utt_id for utterance in utterances],
        wav_paths,
        [utterance.segment for utterance in utterances],
        seconds.tolist(),
        hash_audio(manifest.path, wav_paths),
        bool(is_stated.any()),
    )


def _header_seconds(manifest: Manifest, positions: list[int]) -> Iterator[float]:
    """Yield the seconds that the headers of utterances' files tell, 0 for unreadable ones."""
    utterances = manifest.utterances.at(positions)
    while some := list(islice(utterances, FILES_AT_A_TIME)):
        yield from durations([locate_audio(manifest.path, one.wav_path) for one in some])


def _keys(names: list[str]) -> Numbers:
    return np.fromiter(map(utterance_key, names), np.int64, len(names))


def _remove_other_shards(folder: Path, names: set[str]) -> None:
    remove_leftovers(folder)
    for path in folder.iterdir():
        if path.stem not in names:
            path.unlink()
