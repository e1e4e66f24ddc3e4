"""Splitting a manifest into index shards, see `xvectors.sharding.assignment` for their balance.

Utterances that are too short or too long are in no shard. A header alone excludes no utterance: a
recording that seems beyond a limit is measured.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from xvectors.audio.containers import parse_member
from xvectors.audio.measuring import measure
from xvectors.audio.opening import durations
from xvectors.config.layout import EXCLUDED, Layout, shard_names
from xvectors.errors import ShardError
from xvectors.files.atomic import remove_leftovers, write_atomically, write_if_changed
from xvectors.files.json_text import dump_checksummed
from xvectors.manifest.reading import Manifest, locate_audio
from xvectors.sharding.assignment import (
    NO_CONTAINER,
    Floats,
    Numbers,
    assign_shards,
    look_up,
    utterance_key,
)
from xvectors.sharding.index_shards import IndexShard, Plan, hash_audio, read_index_shard
from xvectors.sharding.limits import NO_LIMITS, Limits
from xvectors.sharding.shard_count import automatic_shards

logger = logging.getLogger(__name__)

# Audio files that are asked for their durations at a time.
FILES_AT_A_TIME = 100_000
# Recordings that are measured at most when a run only looks.
MAX_MEASURED = 2000
# Assumed where no header states a duration, to choose the number of shards.
UNKNOWN_SECONDS = 5.0
Flags = NDArray[np.bool_]
Answer = TypeVar("Answer")


class Division(NamedTuple):
    """A split's plan, its index shards by name, made one at a time, and the excluded utterances.

    `excluded` is an index shard that no job embeds, None without limits.
    """

    plan: Plan
    shards: Iterator[tuple[str, IndexShard]]
    excluded: IndexShard | None = None


def split_manifest(
    manifest: Manifest,
    split: str,
    n_shards: int | None,
    layout: Layout,
    limits: Limits = NO_LIMITS,
) -> None:
    """Write a split's index shards, and then its plan, which vouches for them.

    An unchanged index shard is not written again. Shards of another number are removed. The other
    arguments are those of `divide`.
    """
    folder = layout.shards(split)
    division = divide(manifest, n_shards, EarlierShards(manifest.path, folder), limits)
    folder.mkdir(parents=True, exist_ok=True)
    others = [EXCLUDED] if division.excluded else []
    _remove_other_shards(folder, {*shard_names(division.plan.n_shards), *others})
    for name, shard in division.shards:
        write_if_changed(layout.index_shard(split, name), dump_checksummed(vars(shard)))
    if division.excluded:
        write_if_changed(layout.excluded_shard(split), dump_checksummed(vars(division.excluded)))
        _log_excluded(split, division)
    write_atomically(layout.plan(split), dump_checksummed(vars(division.plan)))


class EarlierShards:
    """The earlier shards of a split: which utterance was where, and durations that are known."""

    def __init__(self, manifest_path: Path, folder: Path) -> None:
        """Read the index shards in `folder`; damaged ones count as missing."""
        self._keys: dict[str, Numbers] = {}
        # Recordings' keys and durations, shape (n,) each.
        self._durations: list[tuple[Numbers, Floats]] = []
        self._measured: list[tuple[Numbers, Floats]] = []
        for path in sorted(folder.glob("*-of-*.json")):
            with contextlib.suppress(ShardError):
                shard = read_index_shard(path)
                self._keys[path.stem] = _keys(shard.utt_ids)
                if not shard.stated and shard.audio == hash_audio(manifest_path, shard.wav_paths):
                    self._durations.append((_keys(shard.wav_paths), np.asarray(shard.seconds)))
        with contextlib.suppress(ShardError):
            excluded = read_index_shard(folder / f"{EXCLUDED}.json")
            if excluded.audio == hash_audio(manifest_path, excluded.wav_paths):
                whole = [segment is None for segment in excluded.segments]
                keys, seconds = _keys(excluded.wav_paths), np.asarray(excluded.seconds)
                self._measured = [(keys[whole], seconds[whole])]
                self._durations += self._measured

    def __bool__(self) -> bool:
        return bool(self._keys)

    def keys(self, n_shards: int) -> dict[int, Numbers]:
        """Return the keys of the utterances of each shard, if there were as many shards."""
        names = enumerate(shard_names(n_shards))
        return {number: self._keys[name] for number, name in names if name in self._keys}

    def seconds(self, wav_keys: Numbers) -> Floats:
        """Return the durations of unchanged recordings, shape (n,), nan for all others."""
        return _find_durations(self._durations, wav_keys)

    def measured(self, wav_keys: Numbers) -> Floats:
        """Return those durations that were measured, shape (n,), nan for all others."""
        return _find_durations(self._measured, wav_keys)


def _find_durations(known: list[tuple[Numbers, Floats]], wav_keys: Numbers) -> Floats:
    keys = np.concatenate([np.zeros(0, dtype=np.int64), *(keys for keys, _ in known)])
    seconds = np.concatenate([np.zeros(0), *(seconds for _, seconds in known)])
    # A duration of 0 could not be read. It is asked for again.
    return look_up(wav_keys, keys[seconds > 0], seconds[seconds > 0], np.nan)


class TooManyHeadersError(Exception):
    """More audio files would have to be opened than allowed."""


class _Listed(NamedTuple):
    """The utterances of a manifest, shape (n,): durations, whether it states them, containers."""

    keys: Numbers
    seconds: Floats
    is_stated: Flags
    containers: Numbers


def divide(
    manifest: Manifest,
    n_shards: int | None,
    earlier: EarlierShards,
    limits: Limits = NO_LIMITS,
    max_headers: int | None = None,
) -> Division:
    """Divide a manifest among shards; nothing is written.

    Args:
        manifest: The split's manifest.
        n_shards: The number of shards; None to choose it by the hours of audio.
        earlier: The index shards that an earlier run wrote.
        limits: The durations that an utterance may have.
        max_headers: How many audio files may be opened for their durations; None for no limit.
            No more than `MAX_MEASURED` are measured if it is given.

    Raises:
        TooManyHeadersError: Too many durations are unknown.

    """
    listed = _collect_durations(manifest, earlier, max_headers)
    is_excluded = np.zeros(len(listed.keys), dtype=bool)
    if limits:
        most = None if max_headers is None else MAX_MEASURED
        is_excluded = _measure_and_exclude(manifest, listed, earlier, limits, most)
    included = np.flatnonzero(~is_excluded)
    keys, seconds = listed.keys[included], listed.seconds[included]
    total = float(seconds.sum())
    if n_shards is None:
        automatic = automatic_shards(total + UNKNOWN_SECONDS * int((seconds == 0).sum()))
        # More shards than utterances would be empty: few are very long, or stated wrongly.
        n_shards = max(1, min(automatic, len(included)))
    shards = assign_shards(
        keys, seconds, n_shards, earlier.keys(n_shards), listed.containers[included]
    )
    by_shard = included[np.argsort(shards, kind="stable")]
    ends = np.bincount(shards, minlength=n_shards).cumsum()
    members = np.split(by_shard, ends[:-1])
    named = zip(shard_names(n_shards), members, strict=True)
    excluded = np.flatnonzero(is_excluded)
    return Division(
        Plan(n_shards, len(included), round(total, 3), manifest.digest, len(excluded), *limits),
        ((name, _index_shard(manifest, positions, listed)) for name, positions in named),
        _index_shard(manifest, excluded, listed) if limits else None,
    )


def _collect_durations(
    manifest: Manifest, earlier: EarlierShards, max_headers: int | None
) -> _Listed:
    """Return a manifest's utterances with the durations that it, or headers, state."""
    utterances = manifest.utterances
    keys = np.empty(len(utterances), dtype=np.int64)
    seconds = np.empty(len(utterances))
    containers = np.full(len(utterances), NO_CONTAINER)
    numbers: dict[str, int] = {}
    unstated, wav_keys = [], []
    for i, utterance in enumerate(utterances):
        if member := parse_member(utterance.wav_path):
            containers[i] = numbers.setdefault(member.container, len(numbers))
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
    stated = _ask_files(durations, manifest, unknown)
    seconds[unknown] = np.fromiter(stated, float, len(unknown))
    return _Listed(keys, seconds.round(4), is_stated, containers)


def _measure_and_exclude(
    manifest: Manifest,
    listed: _Listed,
    earlier: EarlierShards,
    limits: Limits,
    max_measured: int | None,
) -> Flags:
    """Tell which utterances, shape (n,), are beyond the limits; correct durations that are wrong.

    An utterance whose recording cannot be read is not excluded, so that its job says why.
    """
    is_excluded = limits.exclude(listed.seconds)
    candidates = np.flatnonzero(is_excluded)
    places, wav_keys = [], []
    for position, utterance in zip(candidates, manifest.utterances.at(candidates), strict=True):
        if utterance.segment is None:
            places.append(position)
            wav_keys.append(utterance_key(utterance.wav_path))
    recordings = np.asarray(places, dtype=np.int64)
    known = earlier.measured(np.asarray(wav_keys, dtype=np.int64))
    listed.seconds[recordings[~np.isnan(known)]] = known[~np.isnan(known)]
    unknown = recordings[np.isnan(known)].tolist()
    if max_measured is not None and len(unknown) > max_measured:
        raise TooManyHeadersError(f"{manifest.path}: {len(unknown)} durations to measure")
    unreadable = []
    for position, seconds in zip(unknown, _ask_files(measure, manifest, unknown), strict=True):
        if seconds is None:
            unreadable.append(position)
        else:
            listed.seconds[position] = round(seconds, 4)
    is_excluded = limits.exclude(listed.seconds)
    is_excluded[unreadable] = False
    return is_excluded


def _log_excluded(split: str, division: Division) -> None:
    plan = division.plan
    logger.log(
        logging.INFO if plan.n_utterances else logging.WARNING,
        "%s: %d of %d utterances are excluded: their duration is not within min_seconds: %s and "
        "max_seconds: %s",
        split,
        plan.n_excluded,
        plan.n_excluded + plan.n_utterances,
        _limit(plan.min_seconds),
        _limit(plan.max_seconds),
    )


def _limit(seconds: float | None) -> str:
    return "null" if seconds is None else f"{seconds:g}"


def has_new_durations(manifest_path: Path, shard: IndexShard) -> bool:
    """Tell whether a duration of a shard can be read now that could not be read before."""
    paths = [
        locate_audio(manifest_path, wav_path)
        for wav_path, seconds in zip(shard.wav_paths, shard.seconds, strict=True)
        if not seconds
    ]
    return bool(paths) and any(durations(paths))


def _index_shard(manifest: Manifest, positions: Numbers, listed: _Listed) -> IndexShard:
    utterances = list(manifest.utterances.at(positions.tolist()))
    wav_paths = [utterance.wav_path for utterance in utterances]
    return IndexShard(
        positions.tolist(),
        [utterance.utt_id for utterance in utterances],
        wav_paths,
        [utterance.segment for utterance in utterances],
        listed.seconds[positions].tolist(),
        hash_audio(manifest.path, wav_paths),
        bool(listed.is_stated[positions].any()),
    )


def _ask_files(
    ask: Callable[[list[str]], list[Answer]], manifest: Manifest, positions: list[int]
) -> Iterator[Answer]:
    """Yield what `ask` returns for the audio files of utterances."""
    utterances = manifest.utterances.at(positions)
    while some := list(islice(utterances, FILES_AT_A_TIME)):
        yield from ask([locate_audio(manifest.path, one.wav_path) for one in some])


def _keys(names: list[str]) -> Numbers:
    return np.fromiter(map(utterance_key, names), np.int64, len(names))


def _remove_other_shards(folder: Path, names: set[str]) -> None:
    remove_leftovers(folder)
    for path in folder.iterdir():
        if path.stem not in names:
            path.unlink()
