"""Index shards and the plan of a split."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xvectors.audio.signal import Segment
from xvectors.audio.versions import AudioVersions
from xvectors.errors import ShardError
from xvectors.files.json_text import load_checksummed
from xvectors.manifest.reading import locate_audio

DIGITS = 32


@dataclass(frozen=True)
class IndexShard:
    """The utterances of one job, in manifest order.

    Attributes:
        positions: The utterances' places in the manifest, which a runner gets as indices.
        utt_ids: Their names.
        wav_paths: Their recordings, as in the manifest.
        segments: The parts of the recordings, None for all of it.
        seconds: Their durations, 0 where the file could not be read.
        audio: A hash of the audio files' names and versions, see `hash_audio`.
        stated: Whether the manifest states any of the durations; else all come from the files.

    """

    positions: list[int]
    utt_ids: list[str]
    wav_paths: list[str]
    segments: list[Segment | None]
    seconds: list[float]
    audio: str
    stated: bool = True


@dataclass(frozen=True)
class Plan:
    """The summary of a split's shards.

    Attributes:
        n_shards: Their number.
        n_utterances: The number of their utterances.
        audio_seconds: The duration of these.
        manifest: A hash of the manifest's content.
        n_excluded: The number of utterances that are in no shard.
        min_seconds: The shortest utterances that are in one, None for no limit.
        max_seconds: The longest ones.

    """

    n_shards: int
    n_utterances: int
    audio_seconds: float
    manifest: str
    n_excluded: int = 0
    min_seconds: float | None = None
    max_seconds: float | None = None


def read_plan(path: Path) -> Plan | None:
    """Return a split's plan, None where there is none or a damaged one."""
    try:
        return Plan(**load_checksummed(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def hash_members(shard: IndexShard) -> str:
    """Return a hash of which utterances a shard has and of their audio as it was.

    Durations that the manifest states are part of it, because a done-marker lists the decoded ones
    that differ from them.
    """
    digest = hashlib.sha256(shard.audio.encode())
    for utt_id, segment in zip(shard.utt_ids, shard.segments, strict=True):
        digest.update(f"{utt_id}\t{segment and tuple(segment)}\n".encode())
    if shard.stated:
        digest.update(f"{shard.seconds}".encode())
    return digest.hexdigest()[:DIGITS]


def hash_audio(manifest_path: Path, wav_paths: Iterable[str]) -> str:
    """Return a hash of audio files' names and present versions."""
    digest, versions = hashlib.sha256(), AudioVersions()
    for wav_path in wav_paths:
        version = versions.of(locate_audio(manifest_path, wav_path))
        digest.update(f"{wav_path}\t{version}\n".encode())
    return digest.hexdigest()


def read_index_shard(path: Path) -> IndexShard:
    """Read an index shard.

    Raises:
        ShardError: The file is missing or damaged.

    """
    try:
        content = load_checksummed(path.read_bytes())
        content["segments"] = [segment and Segment(*segment) for segment in content["segments"]]
        return IndexShard(**content)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ShardError(f"{path}: not an index shard ({error}). Rerun the same command") from error
