"""A split that is prepared and embedded in this process: what its jobs do, without Snakemake."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from xvectors.config.layout import Layout, shard_names
from xvectors.config.resolving import resolve_config
from xvectors.encoders.fetching import fetch_encoder
from xvectors.job.shard_job import embed_shard
from xvectors.manifest.reading import read_manifest
from xvectors.sharding.index_shards import read_index_shard
from xvectors.sharding.limits import Limits
from xvectors.sharding.splitting import split_manifest


class Shards:
    """The jobs of the split ``train``, whose manifest lies in a folder, and what they leave."""

    def __init__(self, corpus: Path, encoder: Path, **settings: Any) -> None:
        self.manifest = corpus / "train.tsv"
        self.settings: dict[str, Any] = {
            "pretrained_model": str(encoder),
            "device": "cpu",
            "save_path": str(corpus.parent / "out"),
            "spk_embed_tag": "tag",
            "manifest_paths": {"train": str(self.manifest)},
            "splits": ["train"],
            "n_shards": 1,
            **settings,
        }

    @property
    def layout(self) -> Layout:
        return Layout.of(resolve_config({"xvector": self.settings}))

    def prepare(self) -> list[str]:
        """Fetch the encoder, split the manifest, and return the names of the shards."""
        n_shards = self.settings["n_shards"]
        fetch_encoder(self.settings["pretrained_model"], self.layout.encoder_description)
        limits = Limits.of(resolve_config({"xvector": self.settings}))
        split_manifest(read_manifest(self.manifest), "train", n_shards, self.layout, limits)
        self.layout.embeddings("train").mkdir(parents=True, exist_ok=True)
        return shard_names(n_shards)

    def embed(self, shard: str) -> dict[str, Any]:
        """Run a shard's job, and return its done-marker."""
        config = resolve_config({"xvector": self.settings})
        embed_shard(config, "train", shard, time.monotonic(), threads=1)
        found: dict[str, Any] = json.loads(self.layout.marker("train", shard).read_bytes())
        return found

    def embed_all(self) -> list[dict[str, Any]]:
        """Prepare the split, run every job, and return the done-markers."""
        return [self.embed(shard) for shard in self.prepare()]

    def seconds(self) -> dict[str, float]:
        """Return the listed duration of every utterance that is in a shard."""
        paths = self.layout.plan("train").with_suffix("").glob("*-of-*.json")
        shards = list(map(read_index_shard, paths))
        return {
            utt_id: seconds
            for shard in shards
            for utt_id, seconds in zip(shard.utt_ids, shard.seconds, strict=True)
        }

    def vectors(self) -> dict[str, torch.Tensor]:
        """Return every embedding, by utterance."""
        folder = self.layout.embeddings("train")
        if self.settings.get("storage") == "packed":
            packs = map(load_file, folder.glob("*.safetensors"))
            return {utt_id: vector for pack in packs for utt_id, vector in pack.items()}
        paths = folder.glob("*.pt")
        return {path.stem: torch.load(path, weights_only=True) for path in paths}

    def times(self) -> dict[str, int]:
        """Return the modification time in ns of every embedding, by utterance."""
        paths = self.layout.embeddings("train").glob("*.pt")
        return {path.stem: path.stat().st_mtime_ns for path in paths}
