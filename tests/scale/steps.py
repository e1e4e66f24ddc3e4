"""A step of the workflow alone, as its rule's script takes it: ``python steps.py STEP CONFIG``."""

# ruff: noqa: PLC0415 - each step imports what its rule's script imports, and no more

import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import yaml

from xvectors.config.layout import Layout, shard_names
from xvectors.config.resolving import resolve_config
from xvectors.config.settings import Settings

SPLIT = "train"
DIM = 192
N_VECTORS = 1000


def start(config: Settings) -> None:
    """Do nothing but what every process does."""


def check(config: Settings) -> None:
    from xvectors.run.checks import check_config, check_manifests

    check_config(config)
    check_manifests(config)


def split(config: Settings) -> None:
    from xvectors.manifest.reading import read_manifest
    from xvectors.sharding.splitting import split_manifest

    manifest = read_manifest(Path(config.xvector.manifest_paths[SPLIT]))
    split_manifest(manifest, SPLIT, config.xvector.given_shards(SPLIT), Layout.of(config))


def fetch(config: Settings) -> None:
    from xvectors.encoders.fetching import fetch_encoder

    fetch_encoder(config.xvector.pretrained_model, Layout.of(config).encoder_description)


def embed(config: Settings) -> None:
    """Embed the first shard, or find it embedded, as a job of a run."""
    from xvectors.files.run_lock import RUN_VARIABLE, RunLock
    from xvectors.job.shard_job import embed_shard

    os.environ[RUN_VARIABLE] = RunLock(Layout.of(config).root).holder()
    embed_shard(config, SPLIT, shards(config)[0], time.monotonic(), threads=1)


def pretend(config: Settings) -> None:
    """Leave quickly what a run leaves: a current embedding of each utterance, and the markers."""
    import torch

    from xvectors.audio.versions import audio_version
    from xvectors.encoders.identity import provenance_metadata
    from xvectors.job.shard_utterances import ShardUtterances
    from xvectors.sharding.index_shards import hash_members
    from xvectors.sharding.markers import DoneMarker, write_marker
    from xvectors.storage.file_storage import FileStorage
    from xvectors.storage.provenance import Standing
    from xvectors.storage.pt_file import save_embedding
    from xvectors.tasks.outputs import storage_of

    layout = Layout.of(config)
    vectors = torch.randn(N_VECTORS, DIM)
    template = layout.root / "template.pt"
    contents = []
    for vector in vectors:
        save_embedding(vector, template)
        contents.append(template.read_bytes())
    template.unlink()
    layout.embeddings(SPLIT).mkdir(parents=True, exist_ok=True)
    for shard in shards(config):
        utterances = ShardUtterances(config, SPLIT, shard)
        utt_ids = utterances.content.utt_ids
        with closing(storage_of(config, SPLIT, shard, utt_ids)) as storage:
            for number, position in enumerate(utterances.content.positions):
                utt_id, audio_path, made = utterances.target_of(position)
                provenance = made.with_audio(audio_version(audio_path))
                if not isinstance(storage, FileStorage):
                    if storage.find(utt_id, provenance).standing is not Standing.CURRENT:
                        storage.save(utt_id, vectors[number % N_VECTORS], provenance)
                elif not storage.path(utt_id).exists():
                    # As `save_embedding` does: the provenance is the zip container's comment.
                    encoded = provenance.encode()
                    comment = len(encoded).to_bytes(2, "little") + encoded
                    content = contents[number % N_VECTORS][:-2] + comment
                    storage.path(utt_id).write_bytes(content)
            storage.finish(utt_ids, provenance_metadata(config))
            account = DoneMarker(
                n_utterances=len(utt_ids),
                n_written=len(utt_ids),
                n_skipped=0,
                n_failed=0,
                audio_seconds=sum(utterances.content.seconds),
                startup_seconds=1.0,
                wall_seconds=1.0,
                device="cpu",
                precision=config.xvector.precision,
                encoder=utterances.source.fingerprint,
                numerics=utterances.source.numerics,
                outputs=storage.version(utt_ids),
                storage=config.xvector.storage,
                members=hash_members(utterances.content),
            )
        write_marker(layout.marker(SPLIT, shard), account)


def retract(config: Settings) -> None:
    from xvectors.run.stale_records import Records

    assert not Records(config).split(SPLIT).stale


def collect(config: Settings) -> None:
    from xvectors.results.collecting import collect_split

    collect_split(config, SPLIT, shards(config))


def average(config: Settings) -> None:
    from xvectors.results.speakers import average_speakers

    layout = Layout.of(config)
    average_speakers(layout.table(SPLIT), layout.speakers(SPLIT), False, {})


def report(config: Settings) -> None:
    from xvectors.report.split_page import draw_report

    draw_report(config, SPLIT, shards(config))


def kaldi(config: Settings) -> None:
    from xvectors.results.exporting import export_kaldi

    layout = Layout.of(config)
    export_kaldi(layout.table(SPLIT), layout.speakers(SPLIT), layout.kaldi(SPLIT))


def safetensors(config: Settings) -> None:
    from xvectors.results.exporting import export_safetensors

    layout = Layout.of(config)
    export_safetensors(layout.table(SPLIT), layout.safetensors(SPLIT), {})


def parquet(config: Settings) -> None:
    from xvectors.results.exporting import export_parquet

    layout = Layout.of(config)
    export_parquet(layout.table(SPLIT), layout.parquet(SPLIT), {})


def shards(config: Settings) -> list[str]:
    return shard_names(config.xvector.given_shards(SPLIT))


def main(name: str, path: str) -> None:
    step: Callable[[Settings], None] = globals()[name]
    step(resolve_config(yaml.safe_load(Path(path).read_text(encoding="utf-8")), path))


if __name__ == "__main__":
    main(*sys.argv[1:])
