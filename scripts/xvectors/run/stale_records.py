"""Retraction: at the start of a run, remove the bookkeeping that no longer tells the truth.

Snakemake sees by itself what is an input or a parameter of a rule, as long as it has its
metadata. It does not see the millions of audio files and embeddings, which are neither. So
every description that a run has left is held against what is there now, and removed when it
is untrue; Snakemake then makes it again. What is removed are descriptions only, never an
embedding.
"""

import logging
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from xvectors.audio.versions import audio_version
from xvectors.config.layout import Layout, shard_names
from xvectors.config.resolving import shards_of_split
from xvectors.config.settings import Settings
from xvectors.encoders.fetching import describes, read_fingerprint
from xvectors.encoders.identity import collect_numerics
from xvectors.errors import EncoderError, ShardError
from xvectors.manifest.reading import hash_manifest, locate_audio
from xvectors.results.stale_results import stale_results
from xvectors.sharding.index_shards import IndexShard, hash_audio, read_index_shard, read_plan
from xvectors.sharding.markers import read_marker
from xvectors.tasks.outputs import storage_of

logger = logging.getLogger(__name__)


def remove_stale_records(config: Settings) -> None:
    """Remove the descriptions of encoder, shards and finished jobs that are untrue."""
    layout = Layout.of(config)
    _return_from_future(layout, config.xvector.splits)
    if not describes(layout.encoder, config.xvector.pretrained_model):
        layout.encoder.unlink(missing_ok=True)
    for split in config.xvector.splits:
        _retract_split(config, layout, split)
    for path in stale_results(layout, config.xvector.splits, config.xvector.exports):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _return_from_future(layout: Layout, splits: Iterable[str]) -> None:
    """Give the present time to all but embeddings that comes from the future, by a wrong clock.

    Snakemake takes what is made now of such a file for stale, and the job for failed.
    """
    now = time.time_ns()
    folders = {layout.root, layout.encoder.parent}
    for split in splits:
        folders |= {layout.plan(split).parent, layout.index_shard(split, "any").parent}
    for folder in filter(Path.is_dir, folders):
        for path in folder.iterdir():
            # A job of a run that was killed may be about to rename its temporary file.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime_ns > now:
                    os.utime(path, ns=(now, now))


def _retract_split(config: Settings, layout: Layout, split: str) -> None:
    manifest_path = Path(config.xvector.manifest_paths[split])
    n_shards = shards_of_split(config, split)
    plan = read_plan(layout.plan(split))
    if plan is None:
        layout.plan(split).unlink(missing_ok=True)
        return
    # A manifest that is made of a corpus may be yet to be made, again.
    holds = (
        plan.n_shards == n_shards
        and manifest_path.exists()
        and plan.manifest == hash_manifest(manifest_path)
    )
    n_retracted = 0
    for name in shard_names(plan.n_shards):
        try:
            shard = read_index_shard(layout.index_shard(split, name))
        except ShardError:
            holds = False
            continue
        holds = holds and shard.audio == hash_audio(manifest_path, shard.wav_paths)
        marker = layout.marker(split, name)
        if marker.exists() and not _is_done(config, layout, split, name, shard):
            marker.unlink(missing_ok=True)
            n_retracted += 1
    if not holds:
        layout.plan(split).unlink(missing_ok=True)
    if n_retracted:
        layout.index(split).unlink(missing_ok=True)
        logger.warning("%s: %d shards are no longer up to date; they run again", split, n_retracted)


def _is_done(config: Settings, layout: Layout, split: str, name: str, shard: IndexShard) -> bool:
    """Tell whether all that a done-marker vouches for is still so."""
    try:
        marker = read_marker(layout.marker(split, name))
        encoder = read_fingerprint(layout.encoder) if layout.encoder.exists() else marker.encoder
    except (ShardError, EncoderError):
        return False
    made = (marker.encoder, marker.numerics, marker.storage)
    if made != (encoder, collect_numerics(config), config.xvector.storage):
        return False
    if marker.failures and config.xvector.on_error == "fail":
        return False
    manifest_path = Path(config.xvector.manifest_paths[split])
    for failure in marker.failures:
        if audio_version(locate_audio(manifest_path, failure.wav_path)) != failure.audio:
            return False
    failed = {failure.utt_id for failure in marker.failures}
    embedded = (utt_id for utt_id in shard.utt_ids if utt_id not in failed)
    outputs = storage_of(config, split, name).version(embedded)
    return outputs is not None and outputs == marker.outputs
