"""A shard job: embeds what is missing of one index shard and accounts for it."""

import logging
import time
from collections.abc import Sequence
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
from xvectors.sharding import IndexShard, read_index_shard

logger = logging.getLogger(__name__)

MAX_NAMES = 10


@dataclass(frozen=True)
class _Task:
    """An utterance to be embedded: its place in the manifest, its files, its provenance."""

    position: int
    utt_id: str
    audio_path: str
    wav_path: str
    seconds: float
    output: Path
    made_by: bytes


@dataclass
class _Work:
    """What a job did."""

    startup_seconds: float = 0.0
    wall_seconds: float = 0.0
    audio_seconds: float = 0.0
    device: str = "none"
    n_written: int = 0
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
    manifest_path = Path(config.xvector.manifest_paths[split])
    index_shard = read_index_shard(layout.index_shard(split, shard))
    audio = hash_audio(manifest_path, index_shard.wav_paths)
    fingerprint = read_fingerprint(layout.encoder)
    runner_class: type[BaseRunner] = import_class(config.xvector.runner, "xvector.runner")
    missing = [
        task
        for task in _tasks(config, index_shard, manifest_path, split, fingerprint)
        if read_provenance(task.output) != task.made_by
    ]
    work = _Work()
    if missing:
        provider = _provider(config, manifest_path, layout, split, fingerprint)
        runner = runner_class(provider, config.xvector.batch_size)
        _embed(runner, missing, f"{split} {shard}", started, work)
    marker = DoneMarker(
        n_utterances=len(index_shard),
        n_written=work.n_written,
        n_skipped=len(index_shard) - len(missing),
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
    _report(marker, split, shard)
    if marker.n_failed and config.xvector.on_error == "fail":
        names = ", ".join(failure.utt_id for failure in marker.failures[:MAX_NAMES])
        names += ", ..." if marker.n_failed > MAX_NAMES else ""
        raise ShardError(
            f"{split} {shard}: {marker.n_failed} of {marker.n_utterances} utterances failed "
            f"({names}), all others are embedded; mend them and run the same command again, "
            "or set xvector.on_error to skip"
        )
    write_marker(layout.marker(split, shard), marker)


def _tasks(
    config: DictConfig,
    shard: IndexShard,
    manifest_path: Path,
    split: str,
    fingerprint: str | None,
) -> list[_Task]:
    runner_class: type[BaseRunner] = import_class(config.xvector.runner, "xvector.runner")
    output_dir = Layout.of(config).embeddings(split)
    recipe = make_recipe(config)
    tasks = []
    for i, utt_id in enumerate(shard.utt_ids):
        wav_path = shard.wav_paths[i]
        audio_path = locate_audio(manifest_path, wav_path)
        tasks.append(
            _Task(
                position=shard.positions[i],
                utt_id=utt_id,
                audio_path=audio_path,
                wav_path=wav_path,
                seconds=shard.seconds[i],
                output=runner_class.output_path(output_dir, utt_id),
                made_by=provenance(recipe, fingerprint, wav_path, audio_version(audio_path)),
            )
        )
    return tasks


def _provider(
    config: DictConfig, manifest_path: Path, layout: Layout, split: str, fingerprint: str | None
) -> EnvironmentProvider:
    """Return the provider, its encoder being the fetched copy, checked to be whole."""
    folder = layout.encoder.parent
    if fingerprint is not None and fingerprint_of(folder) != fingerprint:
        raise EncoderError(
            f"{folder}: the encoder's copy is damaged; delete that folder and run the same "
            "command again"
        )
    local = config.copy()
    if fingerprint is not None:
        local.xvector.pretrained_model = str(folder)
    layout.embeddings(split).mkdir(parents=True, exist_ok=True)
    provider_class: type[EnvironmentProvider] = import_class(
        config.xvector.provider, "xvector.provider"
    )
    params = {"manifest_path": str(manifest_path), "output_dir": str(layout.embeddings(split))}
    return provider_class(local, params=params)


def _embed(runner: BaseRunner, tasks: list[_Task], name: str, started: float, work: _Work) -> None:
    """Build the environment and run all tasks in it, counting in `work` what was done."""
    for task in tasks:
        discard_sidecar(task.output)
    env = build_worker_environment(runner.provider)
    work.device = str(env.get("device", work.device))
    work.startup_seconds = time.monotonic() - started
    with Progress(name, len(tasks)) as progress:
        for batch in batches(tasks, runner.batch_size):
            failures = _process(runner, env, batch)
            failed = {failure.utt_id for failure in failures}
            seconds = sum(task.seconds for task in batch if task.utt_id not in failed)
            progress.update(len(batch), seconds)
            work.n_written += len(batch) - len(failures)
            work.failures += failures
        work.audio_seconds, work.wall_seconds = progress.audio_seconds, progress.wall_seconds


def _process(runner: BaseRunner, env: Environment, batch: Sequence[_Task]) -> list[Failure]:
    """Run a batch and return its failures; an UtteranceError costs only its own utterance."""
    try:
        results = runner.process([task.position for task in batch], env)
    except UtteranceError as error:
        if len(batch) > 1:
            return [failure for task in batch for failure in _process(runner, env, [task])]
        results = [{"utt_id": batch[0].utt_id, "status": "failed", "reason": str(error)}]
    outcomes = [_settle(task, result) for task, result in zip(batch, results, strict=True)]
    return [failure for failure in outcomes if failure is not None]


def _settle(task: _Task, result: Any) -> Failure | None:
    """Return why a task failed, or see to it that its output carries its provenance."""
    outcome = result if isinstance(result, dict) else {}
    if outcome.get("utt_id", task.utt_id) != task.utt_id:
        raise ShardError(
            f"{task.utt_id}: the manifest changed while the job ran (it has {outcome['utt_id']!r} "
            "there now); run the same command again"
        )
    if outcome.get("status") == "failed":
        if Path(task.audio_path).exists():
            # What is there was made from another version of this file.
            task.output.unlink(missing_ok=True)
        return Failure(
            task.utt_id, task.wav_path, outcome.get("reason", "the runner gave no reason")
        )
    if not task.output.is_file():
        return Failure(task.utt_id, task.wav_path, f"the runner left no file {task.output}")
    if read_provenance(task.output) is None:
        stamp(task.output, task.made_by)
    return None


def _report(marker: DoneMarker, split: str, shard: str) -> None:
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
