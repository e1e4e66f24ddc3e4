"""The utterances of a shard job: which are current, and what a job adds to a runner's pipeline."""

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xvectors.audio.versions import audio_version
from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.encoders.fetching import read_fingerprint
from xvectors.encoders.identity import collect_numerics
from xvectors.errors import ShardError
from xvectors.files.run_lock import RunWatch
from xvectors.manifest.reading import locate_audio
from xvectors.sharding.index_shards import read_index_shard
from xvectors.storage.base import Storage
from xvectors.storage.provenance import EmbeddingSource
from xvectors.tasks.pipeline import Pipeline
from xvectors.tasks.runner import Outcome


class ShardUtterance(NamedTuple):
    """An utterance of the shard, its audio, and the provenance of its embedding."""

    utt_id: str
    audio_path: str
    provenance: bytes


class ShardUtterances(Sequence[ShardUtterance]):
    """The utterances of a shard, in manifest order, each looked at when it is asked for.

    `origin` is what their embeddings are made by.
    """

    def __init__(self, config: Settings, split: str, shard: str) -> None:
        """Read the index shard.

        Raises:
            ShardError: It is missing or damaged.

        """
        layout = Layout.of(config)
        self.content = read_index_shard(layout.index_shard(split, shard))
        self.origin = EmbeddingSource(
            collect_numerics(config),
            read_fingerprint(layout.encoder),
            self.content.wav_paths,
            self.content.segments,
        )
        self._manifest_path = manifest_of(config, split)

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self.content.positions)

    def __getitem__(self, row: int) -> ShardUtterance:  # type: ignore[override]
        """Return an utterance, as its audio is now."""
        content = self.content
        audio_path = locate_audio(self._manifest_path, content.wav_paths[row])
        return ShardUtterance(
            content.utt_ids[row],
            audio_path,
            self.origin.provenance(row, audio_version(audio_path)),
        )

    def row_of(self, position: int) -> int:
        """Return which of the shard's utterances is that at a position in the manifest."""
        return bisect_left(self.content.positions, position)


class ShardPipeline(Pipeline):
    """A runner's pipeline, with what a job adds: stale outputs go, new ones get a provenance."""

    def __init__(
        self, pipeline: Pipeline, utterances: ShardUtterances, storage: Storage, watch: RunWatch
    ) -> None:
        """Take a runner's pipeline, the utterances that they are for, and what keeps these."""
        self.pipeline = pipeline
        self.encoder = pipeline.encoder
        self.utterances = utterances
        self.storage = storage
        self.watch = watch

    def with_encoder(self, encoder: Any) -> "ShardPipeline":
        """Return the same pipeline with another encoder."""
        return ShardPipeline(
            self.pipeline.with_encoder(encoder), self.utterances, self.storage, self.watch
        )

    def n_bytes(self, item: tuple[ShardUtterance, Any]) -> int:
        """Return the memory that the runner's item takes."""
        return self.pipeline.n_bytes(item[1])

    def load(self, index: int) -> tuple[ShardUtterance, Any]:
        """Remove a stale output, and do what the runner does, unless the next run has begun."""
        self.watch.check()
        return self.discard_stale(index), self.pipeline.load(index)

    def discard_stale(self, index: int) -> ShardUtterance:
        """Return an utterance, without an output that was made by something else."""
        utterance = self.utterances[self.utterances.row_of(index)]
        is_gone = audio_version(utterance.audio_path) is None
        self.storage.discard_stale(utterance.utt_id, utterance.provenance, is_gone)
        return utterance

    def compute(self, items: list[tuple[ShardUtterance, Any]]) -> Sequence[Any]:
        """Do what the runner does, unless the next run has begun."""
        self.watch.check()
        return self.pipeline.compute([item for _, item in items])

    def store(self, item: tuple[ShardUtterance, Any], result: Any) -> Outcome:
        """Do what the runner does, unless the next run has begun; check and stamp the output."""
        self.watch.check()
        utterance, loaded = item
        return finalize_outcome(utterance, self.pipeline.store(loaded, result), self.storage)


def manifest_of(config: Settings, split: str) -> Path:
    """Return the manifest of a split."""
    return Path(config.xvector.manifest_paths[split])


def finalize_outcome(utterance: ShardUtterance, result: Any, storage: Storage) -> Outcome:
    """Return an utterance's outcome, and see to it that its output carries its provenance.

    Args:
        utterance: The utterance.
        result: The runner's `Outcome`, or another result of a runner's own.
        storage: Where the output is.

    """
    outcome: Outcome = {"utt_id": utterance.utt_id, "status": "ok"}
    if isinstance(result, dict):
        known = {name: result[name] for name in ("utt_id", "status") if name in result}
        outcome.update(known)  # type: ignore[typeddict-item]
        outcome["reason"] = str(result.get("reason", "the runner gave no reason"))
    if outcome["utt_id"] != utterance.utt_id:
        raise ShardError(
            f"{utterance.utt_id}: the runner's result is of {outcome['utt_id']}: return one result "
            "per index, in their order; if the manifest has changed, run the same command again"
        )
    if outcome["status"] != "failed":
        reason = storage.accept(utterance.utt_id, utterance.provenance)
        if reason is not None:
            outcome.update({"status": "failed", "reason": reason})
    return outcome
