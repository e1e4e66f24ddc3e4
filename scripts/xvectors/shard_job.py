"""A shard job: embeds what is missing of one index shard and accounts for it."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from xvectors.audio import audio_version
from xvectors.config import import_class
from xvectors.errors import EncoderError, ShardError, UtteranceError
from xvectors.fetching import fingerprint_of, read_fingerprint
from xvectors.layout import Layout
from xvectors.manifest import locate_audio
from xvectors.markers import DoneMarker, Failure, hash_audio, write_marker
from xvectors.progress import Progress, speed
from xvectors.provenance import discard_sidecar, make_recipe, provenance, read_provenance, stamp
from xvectors.provider import Environment, EnvironmentProvider
from xvectors.runner import BaseRunner, batches, build_worker_environment
from xvectors.sharding import read_index_shard

logger = logging.getLogger(__name__)

MAX_NAMES = 10


@dataclass(frozen=True)
class _Task:
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


@dataclass
class _Work:
    """What a job did."""

    device: str = "none"
    startup_seconds: float = 0.0
    wall_seconds: float = 0.0
    audio_seconds: float = 0.0
    n_written: int = 0
    n_skipped: int = 0
    failures: list[Failure] = field(default_factory=list)


def embed_shard(config: DictConfig, split: str, shard: str, started: float) -> None:
    """Embed the utterances of a shard that have no current embedding, then write its marker.

    The environment is built once, and not at all when nothing is missing.

    Args:
        config: A resolved configuration.
        split: Name of the split.
        shard: Name of the shard, ``<k>-of-<n>``.
        started: When the process started, in seconds of ``time.monotonic``.

    Raises:
        ShardError: Utterances failed under ``on_error: fail``; the message names them. There
            is no marker then, and what was embedded stays.

    """
    layout = Layout.of(config)
    name = f"{split} {shard}"
    fingerprint = read_fingerprint(layout.encoder)
    tasks = _tasks(config, split, layout.index_shard(split, shard), fingerprint)
    audio = hash_audio(_manifest(config, split), [task.wav_path for task in tasks])
    missing = [task for task in tasks if not task.is_current]
    work = _Work()
    if missing:
        runner_class: type[BaseRunner] = import_class(config.xvector.runner, "xvector.runner")
        runner = runner_class(_provider(config, split, fingerprint), config.xvector.batch_size)
        work = _embed(runner, missing, name, started)
    marker = DoneMarker(
        n_utterances=len(tasks),
        n_written=work.n_written,
        n_skipped=len(tasks) - len(missing) + work.n_skipped,
        n_failed=len(work.failures),
        audio_seconds=round(work.audio_seconds, 3),
        startup_seconds=round(work.startup_seconds, 3),
        wall_seconds=round(work.wall_seconds, 3),
        device=work.device,
        precision=config.xvector.precision,
        encoder=fingerprint,
        audio=audio,
        failures=work.failures,
    )
    _report(split, shard, marker)
    if marker.n_failed and config.xvector.on_error == "fail":
        names = ", ".join(failure.utt_id for failure in marker.failures[:MAX_NAMES])
        names += ", ..." if marker.n_failed > MAX_NAMES else ""
        raise ShardError(
            f"{name}: {marker.n_failed} of {marker.n_utterances} utterances failed ({names}), all "
            "others are embedded; mend them and run the same command again, or set "
            "xvector.on_error to skip"
        )
    write_marker(layout.marker(split, shard), marker)


def _manifest(config: DictConfig, split: str) -> Path:
    return Path(config.xvector.manifest_paths[split])


def _tasks(
    config: DictConfig, split: str, index_shard: Path, fingerprint: str | None
) -> list[_Task]:
    runner_class: type[BaseRunner] = import_class(config.xvector.runner, "xvector.runner")
    output_dir = Layout.of(config).embeddings(split)
    recipe = make_recipe(config)
    shard = read_index_shard(index_shard)
    tasks = []
    for position, utt_id, wav_path, seconds in zip(
        shard.positions, shard.utt_ids, shard.wav_paths, shard.seconds, strict=True
    ):
        audio_path = locate_audio(_manifest(config, split), wav_path)
        output = runner_class.output_path(output_dir, utt_id)
        made_by = provenance(recipe, fingerprint, wav_path, audio_version(audio_path))
        tasks.append(_Task(position, utt_id, wav_path, audio_path, seconds, output, made_by))
    return tasks


def _provider(config: DictConfig, split: str, fingerprint: str | None) -> EnvironmentProvider:
    """Return the provider, its encoder being the fetched copy, checked to be whole."""
    layout = Layout.of(config)
    config = config.copy()
    if fingerprint is not None:
        folder = layout.encoder.parent
        if fingerprint_of(folder) != fingerprint:
            raise EncoderError(
                f"{folder}: the encoder's copy is damaged; delete that folder and run the same "
                "command again"
            )
        config.xvector.pretrained_model = str(folder)
    output_dir = layout.embeddings(split)
    output_dir.mkdir(parents=True, exist_ok=True)
    provider_class: type[EnvironmentProvider] = import_class(
        config.xvector.provider, "xvector.provider"
    )
    params = {"manifest_path": str(_manifest(config, split)), "output_dir": str(output_dir)}
    return provider_class(config, params=params)


def _embed(runner: BaseRunner, tasks: list[_Task], name: str, started: float) -> _Work:
    """Build the environment, run all tasks in it, and return what was done."""
    for task in tasks:
        discard_sidecar(task.output)
    env = build_worker_environment(runner.provider)
    work = _Work(str(env.get("device", "none")), startup_seconds=time.monotonic() - started)
    with Progress(name, len(tasks)) as progress:
        for batch in batches(tasks, runner.batch_size):
            _process(runner, env, batch, work)
            progress.update(len(batch), work.audio_seconds)
        work.wall_seconds = progress.wall_seconds
    return work


def _process(runner: BaseRunner, env: Environment, batch: Sequence[_Task], work: _Work) -> None:
    """Run a batch; an UtteranceError costs only its own utterance."""
    try:
        results = runner.process([task.position for task in batch], env)
    except UtteranceError as error:
        if len(batch) > 1:
            for task in batch:
                _process(runner, env, [task], work)
            return
        results = [{"status": "failed", "reason": str(error)}]
    for task, result in zip(batch, results, strict=True):
        _settle(task, result if isinstance(result, dict) else {}, work)


def _settle(task: _Task, outcome: Mapping[str, Any], work: _Work) -> None:
    """Count what became of a task, and see to it that its output carries its provenance."""
    if outcome.get("utt_id", task.utt_id) != task.utt_id:
        raise ShardError(
            f"{task.utt_id}: the manifest changed while the job ran, it has "
            f"{outcome['utt_id']} there now; run the same command again"
        )
    reason = None
    if outcome.get("status") == "failed":
        reason = outcome.get("reason", "the runner gave no reason")
    elif not task.output.is_file():
        reason = f"the runner left no file {task.output}"
    if reason is not None:
        if Path(task.audio_path).exists():
            # An earlier output was made from another version of this file.
            task.output.unlink(missing_ok=True)
        work.failures.append(Failure(task.utt_id, task.wav_path, reason))
        return
    if read_provenance(task.output) is None:
        stamp(task.output, task.made_by)
    if outcome.get("status") == "skipped":
        work.n_skipped += 1
    else:
        work.n_written += 1
        work.audio_seconds += task.seconds


def _report(split: str, shard: str, marker: DoneMarker) -> None:
    for failure in marker.failures:
        logger.error("%s: %s: %s", split, failure.utt_id, failure.reason)
    logger.info(
        "%s %s: %d embedded, %d skipped, %d failed, %s",
        split,
        shard,
        marker.n_written,
        marker.n_skipped,
        marker.n_failed,
        speed(marker.n_written, marker.audio_seconds, marker.wall_seconds),
    )
