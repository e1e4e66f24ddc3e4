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
from dataclasses import asdict, dataclass
from pathlib import Path

from xvectors.audio import audio_version, durations
from xvectors.errors import ShardError
from xvectors.files import remove_leftovers, write_atomically, write_if_changed
from xvectors.layout import Layout, shard_names
from xvectors.manifest import Manifest, Stretch, locate_audio
from xvectors.sealed import seal, unseal

# Seconds of audio that the handling of one file is worth, whatever its length.
FILE_OVERHEAD = 0.1
# How far above a fair share, apart from its longest utterance, a shard may grow over time
# before utterances move.
TOLERANCE = 1.1


@dataclass(frozen=True)
class IndexShard:
    """The utterances of one job, in manifest order.

    `positions` are the utterances' places in the manifest, which a runner gets as indices;
    `wav_paths` and `stretches` are as the manifest has them; `seconds` are 0 where the file
    cannot be read;
    `audio` is a hash of the audio files' names and versions, see `hash_audio`.
    """

    positions: list[int]
    utt_ids: list[str]
    wav_paths: list[str]
    stretches: list[Stretch | None]
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
    utt_ids: list[str], seconds: list[float], n_shards: int, earlier: dict[str, int] | None = None
) -> list[int]:
    """Return the shard, 0 to `n_shards` - 1, of each utterance.

    Args:
        utt_ids: The utterances.
        seconds: Their durations.
        n_shards: The number of shards.
        earlier: The shards that utterances had before, to be kept where balance allows.

    """
    earlier = earlier or {}
    weights = [duration + FILE_OVERHEAD for duration in seconds]
    room = TOLERANCE * sum(weights) / n_shards + max(weights, default=0.0)
    loads = [0.0] * n_shards
    shards = [0] * len(utt_ids)
    newcomers = []
    longest_first = sorted(range(len(utt_ids)), key=lambda i: (-weights[i], utt_ids[i]))
    for i in longest_first:
        shard = earlier.get(utt_ids[i])
        if shard is None or loads[shard] + weights[i] > room:
            newcomers.append(i)
        else:
            loads[shard] += weights[i]
            shards[i] = shard
    by_load = [(load, shard) for shard, load in enumerate(loads)]
    heapq.heapify(by_load)
    for i in newcomers:
        load, shards[i] = by_load[0]
        heapq.heapreplace(by_load, (load + weights[i], shards[i]))
    return shards


def split_manifest(manifest: Manifest, split: str, n_shards: int, layout: Layout) -> None:
    """Write a split's index shards, and then its plan, which vouches for them.

    An index shard that stays as it was is not written again, so that its job need not run.
    Shards of an earlier, other number are removed.
    """
    utterances = manifest.utterances
    seconds = _seconds(manifest)
    names = shard_names(n_shards)
    paths = [layout.index_shard(split, name) for name in names]
    utt_ids = [utterance.utt_id for utterance in utterances]
    shards = assign_shards(utt_ids, seconds, n_shards, _earlier_shards(paths))
    members: list[list[int]] = [[] for _ in range(n_shards)]
    for position, shard in enumerate(shards):
        members[shard].append(position)
    folder = layout.index_shard(split, "any").parent
    folder.mkdir(parents=True, exist_ok=True)
    _remove_other_shards(folder, set(names))
    for path, positions in zip(paths, members, strict=True):
        wav_paths = [utterances[i].wav_path for i in positions]
        content = IndexShard(
            positions,
            [utterances[i].utt_id for i in positions],
            wav_paths,
            [utterances[i].stretch for i in positions],
            [seconds[i] for i in positions],
            hash_audio(manifest.path, wav_paths),
        )
        write_if_changed(path, seal(asdict(content)))
    plan = Plan(n_shards, len(utterances), round(sum(seconds), 3), manifest.digest)
    write_atomically(layout.plan(split), seal(asdict(plan)))


def read_plan(path: Path) -> Plan | None:
    """Return a split's plan, None where there is none or a damaged one."""
    try:
        return Plan(**unseal(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def hash_audio(manifest_path: Path, wav_paths: list[str]) -> str:
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
        content["stretches"] = [stretch and Stretch(*stretch) for stretch in content["stretches"]]
        return IndexShard(**content)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ShardError(f"{path}: no index shard ({error}); run the same command again") from error


def _seconds(manifest: Manifest) -> list[float]:
    """Return each utterance's seconds: the manifest's, else those that its file's header states."""
    seconds = [utterance.seconds for utterance in manifest.utterances]
    unknown = [i for i, value in enumerate(seconds) if value is None]
    paths = [locate_audio(manifest.path, manifest.utterances[i].wav_path) for i in unknown]
    for i, duration in zip(unknown, durations(paths), strict=True):
        seconds[i] = duration
    return [round(value or 0.0, 4) for value in seconds]


def _earlier_shards(paths: list[Path]) -> dict[str, int]:
    """Return the shards that an earlier split of as many shards gave to its utterances."""
    earlier = {}
    for shard, path in enumerate(paths):
        if path.is_file():
            with contextlib.suppress(ShardError):  # damaged: its utterances come as new ones
                earlier.update(dict.fromkeys(read_index_shard(path).utt_ids, shard))
    return earlier


def _remove_other_shards(folder: Path, names: set[str]) -> None:
    remove_leftovers(folder)
    for path in folder.iterdir():
        if path.stem not in names:
            path.unlink()
