"""A split as a run leaves it, made without one: embeddings, tables and done-markers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from xvectors.config.layout import Layout, shard_names
from xvectors.config.resolving import resolve_config
from xvectors.config.settings import Settings
from xvectors.results.labels import COLUMNS
from xvectors.results.tables import EmbeddedRow, FailureRow, write_embedded, write_failures
from xvectors.sharding.markers import DoneMarker, write_marker

N_SHARDS = 2
SHARDS = shard_names(N_SHARDS)


def make_voices(n_speakers: int, n_utterances: int, spread: float = 0.6, seed: int = 0):
    """Return speakers and embeddings of shape (n, 32) that lie around a point per speaker."""
    random = np.random.default_rng(seed)
    places = np.repeat(random.normal(size=(n_speakers, 32)), n_utterances, axis=0)
    embeddings = places + spread * random.normal(size=places.shape)
    speakers = [f"voice{i:03d}" for i in range(n_speakers) for _ in range(n_utterances)]
    return speakers, embeddings.astype(np.float32)


def make_rows(speakers: Sequence[str], folder: Path = Path()) -> list[EmbeddedRow]:
    """Return a row of the table for each utterance of `speakers`, one second longer each."""
    return [
        EmbeddedRow(f"utt{i:05d}", speaker, str(folder / f"utt{i:05d}.pt"), 1.0 + i)
        for i, speaker in enumerate(speakers)
    ]


def make_marker(**changes) -> DoneMarker:
    """Return the marker of a job that embedded ten utterances, 40 s of audio, in 2 s."""
    content = {"n_utterances": 10, "n_written": 10, "n_skipped": 0, "n_failed": 0}
    content |= {"audio_seconds": 40.0, "startup_seconds": 3.0, "wall_seconds": 2.0}
    content |= {"device": "cpu", "precision": "fp32", "encoder": "0", "numerics": {}}
    return DoneMarker(**(content | changes))


def write_labels(path: Path, n_suspects: int, n_ok: int = 1) -> None:
    """Write a table of labels. The last suspect has the smallest margin."""
    columns = ("utt{0:05d}", "voice000", "-1.0", "voice001", "0.{0:03d}", "-1.{0:03d}", "", "{1}")
    verdicts = ["suspect"] * n_suspects + ["ok"] * n_ok
    lines = [COLUMNS, *([c.format(i, v) for c in columns] for i, v in enumerate(verdicts))]
    path.write_text("".join("\t".join(line) + "\n" for line in lines))


def make_split(
    root: Path,
    speakers: Sequence[str],
    embeddings: np.ndarray,
    failures: Sequence[FailureRow] = (),
    **settings: object,
) -> Settings:
    """Write the split ``train``, of two shards, below `root`, and return its configuration.

    The manifest names audio that does not exist.
    """
    manifest = root / "corpus" / "train.tsv"
    xvector = {"save_path": str(root), "spk_embed_tag": "tag", "n_shards": 2}
    xvector |= {"manifest_paths": {"train": str(manifest)}, **settings}
    config = resolve_config({"xvector": xvector})
    layout = Layout.of(config)
    layout.embeddings("train").mkdir(parents=True)
    rows = make_rows(speakers, layout.embeddings("train"))
    for row, embedding in zip(rows, embeddings, strict=True):
        torch.save(torch.from_numpy(embedding), row.path)
    write_embedded(layout.table("train"), rows)
    manifest.parent.mkdir()
    lines = (f"{row.utt_id}\twavs/{row.utt_id}.wav\ttext\t{row.speaker_id}\n" for row in rows)
    manifest.write_text("".join(lines))
    write_failures(layout.failures("train"), failures)
    layout.index_shard("train", SHARDS[0]).parent.mkdir(parents=True)
    for shard in SHARDS:
        write_marker(layout.marker("train", shard), make_marker())
    return config
