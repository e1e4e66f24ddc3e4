"""Sharding: which job embeds which utterances.

Shards are balanced by duration, and an utterance keeps its shard when others come or go, as
far as balance allows, so that a changed manifest re-runs few jobs. Long utterances choose
first: each stays in the shard that it had, if that has room, and else takes the emptiest one
(without earlier shards this is longest-processing-time-first scheduling, Graham 1969,
doi:10.1137/0117039, whose fullest shard is at most one utterance above a fair share).
"""

import contextlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from xvectors.audio.opening import durations
from xvectors.config.layout import Layout, shard_names
from xvectors.errors import ShardError
from xvectors.files.atomic import remove_leftovers, write_atomically, write_if_changed
from xvectors.files.checksummed_json import dump_checksummed
from xvectors.manifest.lines import Utterance
from xvectors.manifest.reading import Manifest, locate_audio
from xvectors.sharding.assignment import Floats, Numbers, assign_shards, utterance_key
from xvectors.sharding.index_shards import IndexShard, Plan, hash_audio, read_index_shard

# Audio files whose headers are read at a time.
FILES_AT_A_TIME = 100_000


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
        write_if_changed(path, dump_checksummed(vars(content)))
    plan = Plan(n_shards, len(utterances), round(float(seconds.sum()), 3), manifest.digest)
    write_atomically(layout.plan(split), dump_checksummed(vars(plan)))


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


def _remove_other_shards(folder: Path, names: set[str]) -> None:
    remove_leftovers(folder)
    for path in folder.iterdir():
        if path.stem not in names:
            path.unlink()
