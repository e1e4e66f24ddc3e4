"""The utterances of a shard job: which are current, and what a job adds to a runner's stages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from xvectors.audio import audio_version
from xvectors.config import first_line
from xvectors.errors import ShardError
from xvectors.fetching import read_fingerprint
from xvectors.layout import Layout
from xvectors.manifest import locate_audio
from xvectors.provenance import (
    Origin,
    discard,
    is_same_but_audio,
    make_recipe,
    read_provenance,
    stamp,
)
from xvectors.run_lock import RunWatch
from xvectors.runner import BaseRunner, Outcome, runner_class
from xvectors.sharding import read_index_shard
from xvectors.stages import Stages


@dataclass(frozen=True)
class Task:
    """An utterance of the shard: its place in the manifest, its files, its provenance."""

    position: int
    utt_id: str
    wav_path: str
    audio_path: str
    seconds: float
    output: Path
    made_by: bytes

    @property
    def is_current(self) -> bool:
        """Whether the output is there, made from this audio in this way."""
        return read_provenance(self.output) == self.made_by


class TaskStages(Stages):
    """A runner's stages, with what a job adds: stale outputs go, new ones get a provenance."""

    def __init__(self, runner: BaseRunner, stages: Stages, tasks: list[Task]) -> None:
        """Take a runner, its stages, and the tasks that they will be asked for."""
        self.stages = stages
        self.check_output = runner.check_output
        self.tasks = {task.position: task for task in tasks}
        self.watch = RunWatch(Layout.of(runner.provider.config).root)

    def load(self, index: int) -> tuple[Task, Any]:
        """Remove a stale output, and do what the runner does, unless the next run has begun."""
        self.watch.check()
        task = self.tasks[index]
        _discard_stale(task)
        return task, self.stages.load(index)

    def compute(self, items: list[tuple[Task, Any]]) -> Sequence[Any]:
        """Do what the runner does, unless the next run has begun."""
        self.watch.check()
        return self.stages.compute([item for _, item in items])

    def store(self, item: tuple[Task, Any], result: Any) -> Outcome:
        """Do what the runner does, unless the next run has begun; check and stamp the output."""
        self.watch.check()
        task, loaded = item
        return _settle(task, self.stages.store(loaded, result), self.check_output)


def tasks_of_shard(config: DictConfig, split: str, index_shard: Path) -> tuple[Origin, list[Task]]:
    """Return what a shard's embeddings are made by, and its utterances."""
    layout = Layout.of(config)
    output_path = runner_class(config).output_path
    shard = read_index_shard(index_shard)
    origin = Origin(
        make_recipe(config), read_fingerprint(layout.encoder), shard.wav_paths, shard.stretches
    )
    tasks = []
    for i, utt_id in enumerate(shard.utt_ids):
        audio_path = locate_audio(manifest_of(config, split), shard.wav_paths[i])
        task = Task(
            position=shard.positions[i],
            utt_id=utt_id,
            wav_path=shard.wav_paths[i],
            audio_path=audio_path,
            seconds=shard.seconds[i],
            output=output_path(layout.embeddings(split), utt_id),
            made_by=origin.provenance(i, audio_version(audio_path)),
        )
        tasks.append(task)
    return origin, tasks


def manifest_of(config: DictConfig, split: str) -> Path:
    """Return the manifest of a split."""
    return Path(config.xvector.manifest_paths[split])


def _discard_stale(task: Task) -> None:
    """Remove an output that is about to be replaced, so that no runner takes it for its own.

    While the audio is gone, nothing can replace it: it stays, if it was made in the same way.
    """
    earlier = read_provenance(task.output)
    if earlier == task.made_by:
        return
    is_gone = audio_version(task.audio_path) is None
    if not (is_gone and is_same_but_audio(earlier, task.made_by)):
        discard(task.output)


def _settle(task: Task, result: Any, check_output: Callable[[Path], Any]) -> Outcome:
    """Return a task's outcome, and see to it that its output carries its provenance.

    Args:
        task: The task.
        result: The runner's `Outcome`, or another result of a runner's own.
        check_output: The runner's.

    """
    outcome: Outcome = {"utt_id": task.utt_id, "status": "ok"}
    if isinstance(result, dict):
        outcome.update(result)  # type: ignore[typeddict-item]
        outcome["reason"] = str(result.get("reason", "the runner gave no reason"))
    if outcome["utt_id"] != task.utt_id:
        raise ShardError(
            f"{task.utt_id}: the manifest changed while the job ran, it has "
            f"{outcome['utt_id']} there now; run the same command again"
        )
    if outcome["status"] != "failed" and read_provenance(task.output) is None:
        # A runner of another task, whose file has yet to be checked and stamped.
        reason = _unsound(task.output, check_output)
        if reason is None:
            stamp(task.output, task.made_by)
        else:
            outcome.update({"status": "failed", "reason": reason})
    return outcome


def _unsound(output: Path, check_output: Callable[[Path], Any]) -> str | None:
    """Return what is wrong with a file that a runner has left, None if it is sound."""
    if not output.is_file():
        return f"the runner left no file {output}"
    try:
        check_output(output)
    except Exception as error:  # a damaged file may make a reader raise anything
        return f"{output}: {first_line(error)}"
    return None
