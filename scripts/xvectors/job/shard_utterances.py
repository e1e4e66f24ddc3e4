"""The utterances of a shard job: which are current, and what a job adds to a runner's stages."""

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from xvectors.audio.signals import audio_version
from xvectors.errors import ShardError
from xvectors.fetching import read_fingerprint
from xvectors.layout import Layout
from xvectors.manifest import locate_audio
from xvectors.provenance import Origin, make_recipe
from xvectors.run.run_lock import RunWatch
from xvectors.runner import Outcome
from xvectors.sharding import read_index_shard
from xvectors.stages import Stages
from xvectors.storage.storage import Storage


class Task(NamedTuple):
    """An utterance of the shard, its audio, and the provenance of its embedding."""

    utt_id: str
    audio_path: str
    made_by: bytes


class ShardTasks(Sequence[Task]):
    """The utterances of a shard, in manifest order, each made into a task when it is asked for.

    `origin` is what their embeddings are made by.
    """

    def __init__(self, config: DictConfig, split: str, shard: str) -> None:
        """Read the index shard.

        Raises:
            ShardError: It is missing or damaged.

        """
        layout = Layout.of(config)
        self.content = read_index_shard(layout.index_shard(split, shard))
        self.origin = Origin(
            make_recipe(config),
            read_fingerprint(layout.encoder),
            self.content.wav_paths,
            self.content.segmentes,
        )
        self._manifest_path = manifest_of(config, split)

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self.content.positions)

    def __getitem__(self, row: int) -> Task:  # type: ignore[override]
        """Return an utterance's task, as its audio is now."""
        content = self.content
        audio_path = locate_audio(self._manifest_path, content.wav_paths[row])
        return Task(
            content.utt_ids[row],
            audio_path,
            self.origin.provenance(row, audio_version(audio_path)),
        )

    def row_of(self, position: int) -> int:
        """Return which of the shard's utterances is that at a position in the manifest."""
        return bisect_left(self.content.positions, position)


class TaskStages(Stages):
    """A runner's stages, with what a job adds: stale outputs go, new ones get a provenance."""

    def __init__(
        self, stages: Stages, tasks: ShardTasks, storage: Storage, watch: RunWatch
    ) -> None:
        """Take a runner's stages, the tasks that they will be asked for, and what keeps these."""
        self.stages = stages
        self.encoder = stages.encoder
        self.tasks = tasks
        self.storage = storage
        self.watch = watch

    def with_encoder(self, encoder: Any) -> "TaskStages":
        """Return the same stages with another encoder."""
        return TaskStages(self.stages.with_encoder(encoder), self.tasks, self.storage, self.watch)

    def n_bytes(self, item: tuple[Task, Any]) -> int:
        """Return the memory that the runner's item takes."""
        return self.stages.n_bytes(item[1])

    def load(self, index: int) -> tuple[Task, Any]:
        """Remove a stale output, and do what the runner does, unless the next run has begun."""
        self.watch.check()
        return self.discard_stale(index), self.stages.load(index)

    def discard_stale(self, index: int) -> Task:
        """Return an utterance's task, without an output that was made by something else."""
        task = self.tasks[self.tasks.row_of(index)]
        is_gone = audio_version(task.audio_path) is None
        self.storage.discard_stale(task.utt_id, task.made_by, is_gone)
        return task

    def compute(self, items: list[tuple[Task, Any]]) -> Sequence[Any]:
        """Do what the runner does, unless the next run has begun."""
        self.watch.check()
        return self.stages.compute([item for _, item in items])

    def store(self, item: tuple[Task, Any], result: Any) -> Outcome:
        """Do what the runner does, unless the next run has begun; check and stamp the output."""
        self.watch.check()
        task, loaded = item
        return _settle(task, self.stages.store(loaded, result), self.storage)


def manifest_of(config: DictConfig, split: str) -> Path:
    """Return the manifest of a split."""
    return Path(config.xvector.manifest_paths[split])


def _settle(task: Task, result: Any, storage: Storage) -> Outcome:
    """Return a task's outcome, and see to it that its output carries its provenance.

    Args:
        task: The task.
        result: The runner's `Outcome`, or another result of a runner's own.
        storage: Where the output is.

    """
    outcome: Outcome = {"utt_id": task.utt_id, "status": "ok"}
    if isinstance(result, dict):
        known = {name: result[name] for name in ("utt_id", "status") if name in result}
        outcome.update(known)  # type: ignore[typeddict-item]
        outcome["reason"] = str(result.get("reason", "the runner gave no reason"))
    if outcome["utt_id"] != task.utt_id:
        raise ShardError(
            f"{task.utt_id}: the manifest changed while the job ran, it has "
            f"{outcome['utt_id']} there now; run the same command again"
        )
    if outcome["status"] != "failed":
        reason = storage.accept(task.utt_id, task.made_by)
        if reason is not None:
            outcome.update({"status": "failed", "reason": reason})
    return outcome
