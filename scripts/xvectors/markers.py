"""Done-markers: what a shard job vouches for, and whether that still holds."""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from xvectors.audio import audio_version
from xvectors.config import import_class
from xvectors.errors import ShardError
from xvectors.files import write_atomically
from xvectors.layout import Layout, shard_names
from xvectors.manifest import locate_audio
from xvectors.runner import BaseRunner
from xvectors.sharding import IndexShard, read_index_shard

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """An utterance that could not be embedded, and why."""

    utt_id: str
    wav_path: str
    reason: str


@dataclass(frozen=True)
class DoneMarker:
    """The account of a finished shard job.

    `n_written`, `audio_seconds` and `wall_seconds` (reading, embedding and writing) belong
    together: they count what this job embedded, not what was there before. `startup_seconds`
    are imports and loading. `encoder` is the encoder's fingerprint, `audio` a hash of the
    names and versions of all audio files of the shard.
    """

    n_utterances: int
    n_written: int
    n_skipped: int
    n_failed: int
    audio_seconds: float
    startup_seconds: float
    wall_seconds: float
    device: str
    precision: str
    encoder: str | None
    audio: str
    failures: list[Failure] = field(default_factory=list)


def write_marker(path: Path, marker: DoneMarker) -> None:
    """Write a done-marker."""
    write_atomically(
        path, json.dumps(asdict(marker), indent=2, ensure_ascii=False).encode() + b"\n"
    )


def read_marker(path: Path) -> DoneMarker:
    """Read a done-marker.

    Raises:
        ShardError: The file is missing or damaged.

    """
    try:
        content = json.loads(path.read_bytes())
        content["failures"] = [Failure(**failure) for failure in content["failures"]]
        return DoneMarker(**content)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ShardError(f"{path}: no done-marker; run the same command again") from error


def hash_audio(manifest_path: Path, wav_paths: list[str]) -> str:
    """Return a hash of audio files' names and present versions."""
    digest = hashlib.sha256()
    for wav_path in wav_paths:
        version = audio_version(locate_audio(manifest_path, wav_path))
        digest.update(f"{wav_path}\t{version}\n".encode())
    return digest.hexdigest()


def retract_untrue(config: DictConfig) -> None:
    """Remove the done-markers that no longer tell the truth, so that their shards run again.

    Snakemake sees changes of manifests, encoder and settings by itself. It does not see the
    millions of audio files and embeddings, which are no inputs or outputs of rules: an audio
    file that was replaced, an embedding that was deleted or altered. A retracted shard embeds
    only what is missing or stale. A plan whose index shards are damaged goes too.
    """
    layout = Layout.of(config)
    runner: type[BaseRunner] = import_class(config.xvector.runner, "xvector.runner")
    for split in config.xvector.splits:
        n_retracted = 0
        for name in _planned_shards(layout.plan(split)):
            try:
                shard = read_index_shard(layout.index_shard(split, name))
            except ShardError:
                layout.plan(split).unlink(missing_ok=True)
                continue
            marker = layout.marker(split, name)
            failed_is_done = config.xvector.on_error == "skip"
            manifest_path = Path(config.xvector.manifest_paths[split])
            outputs = partial(runner.output_path, layout.embeddings(split))
            if marker.exists() and not _holds(
                marker, shard, manifest_path, outputs, failed_is_done
            ):
                marker.unlink(missing_ok=True)
                n_retracted += 1
        if n_retracted:
            logger.warning(
                "%s: audio or embeddings changed since %d shards were done; they run again",
                split,
                n_retracted,
            )


def _planned_shards(plan: Path) -> list[str]:
    """Return the names of a plan's shards, none when there is no plan; a damaged one goes."""
    try:
        return shard_names(json.loads(plan.read_bytes())["n_shards"])
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError):
        plan.unlink(missing_ok=True)
        return []


def _holds(
    path: Path,
    shard: IndexShard,
    manifest_path: Path,
    output_path: Callable[[str], Path],
    failed_is_done: bool,
) -> bool:
    """Tell whether all that the done-marker at `path` vouches for is still so."""
    try:
        marker = read_marker(path)
    except ShardError:
        return False
    if marker.n_failed and not failed_is_done:
        return False
    if hash_audio(manifest_path, shard.wav_paths) != marker.audio:
        return False
    marked = path.stat().st_mtime_ns
    failed = {failure.utt_id for failure in marker.failures}
    return all(
        _is_older(output_path(utt_id), marked) for utt_id in shard.utt_ids if utt_id not in failed
    )


def _is_older(output: Path, marked: int) -> bool:
    try:
        return os.stat(output).st_mtime_ns <= marked  # noqa: PTH116
    except OSError:
        return False
