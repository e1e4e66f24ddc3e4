"""A shard job: embeds what is missing of one index shard and accounts for it."""

import errno
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from xvectors.audio import audio_version
from xvectors.config import first_line
from xvectors.errors import EncoderError, ShardError, UtteranceError, XVectorsError
from xvectors.fetching import fingerprint_of, read_fingerprint
from xvectors.gpu_lease import leased_gpu
from xvectors.layout import Layout
from xvectors.manifest import locate_audio
from xvectors.markers import DoneMarker, Failure, write_marker
from xvectors.progress import Progress, speed
from xvectors.provenance import (
    Origin,
    discard,
    is_same_but_audio,
    make_recipe,
    read_provenance,
    stamp,
)
from xvectors.provider import EnvironmentProvider, provider_class
from xvectors.run_lock import RunWatch
from xvectors.runner import BaseRunner, build_worker_environment, runner_class
from xvectors.sharding import read_index_shard
from xvectors.stages import Batch, Stages, run_overlapped

logger = logging.getLogger(__name__)

MAX_NAMES = 10
# Audio in one batch, however many utterances it may hold.
MAX_BATCH_SECONDS = 300
# Threads that read: on a CPU as many as the job's, but they may have to wait for the disk.
MIN_READERS = 2
GPU_READERS = 8
# What no other utterance would escape: a full or read-only disk, no more file handles.
MACHINE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}
# So many unexpected failures without a single success are a defect of the task.
MAX_FAILURES_AT_FIRST = 10


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


def embed_shard(config: DictConfig, split: str, shard: str, started: float, threads: int) -> None:
    """Embed the utterances of a shard that have no current embedding, then write its marker.

    The environment is built once, and not at all when nothing is missing.

    Args:
        config: A resolved configuration.
        split: Name of the split.
        shard: Name of the shard, ``<k>-of-<n>``.
        started: When the process started, in seconds of ``time.monotonic``.
        threads: Processors that the job may keep busy.

    Raises:
        ShardError: Utterances failed under ``on_error: fail``; the message names them. There
            is no marker then, and what was embedded stays.

    """
    layout = Layout.of(config)
    name = f"{split} {shard}"
    origin, tasks = _tasks(config, split, layout.index_shard(split, shard))
    missing = [task for task in tasks if not task.is_current]
    work = _Work()
    if missing:
        # It lists vectors that are about to be replaced; collect_split writes it anew.
        layout.index(split).unlink(missing_ok=True)
        asked = time.monotonic()
        with leased_gpu(config.xvector.device, config.xvector.jobs_per_gpu) as gpu:
            started += time.monotonic() - asked
            provider = _provider(config, split, origin.fingerprint, gpu)
            runner = runner_class(config)(provider, config.xvector.batch_size)
            n_readers = GPU_READERS if gpu else max(threads, MIN_READERS)
            work = _embed(runner, missing, name, started, n_readers)
    account = DoneMarker(
        n_utterances=len(tasks),
        n_written=work.n_written,
        n_skipped=len(tasks) - len(missing) + work.n_skipped,
        n_failed=len(work.failures),
        audio_seconds=round(work.audio_seconds, 3),
        startup_seconds=round(work.startup_seconds, 3),
        wall_seconds=round(work.wall_seconds, 3),
        device=work.device,
        precision=config.xvector.precision,
        encoder=origin.fingerprint,
        recipe=origin.recipe,
        failures=work.failures,
    )
    _report(split, shard, account)
    if account.n_failed and config.xvector.on_error == "fail":
        write_marker(layout.unfinished(split, shard), account)
        names = ", ".join(failure.utt_id for failure in account.failures[:MAX_NAMES])
        names += ", ..." if account.n_failed > MAX_NAMES else ""
        raise ShardError(
            f"{name}: {account.n_failed} of {account.n_utterances} utterances failed ({names}), "
            "all others are embedded; mend them and run the same command again, or set "
            "xvector.on_error to skip"
        )
    layout.unfinished(split, shard).unlink(missing_ok=True)
    write_marker(layout.marker(split, shard), account)


def _tasks(config: DictConfig, split: str, index_shard: Path) -> tuple[Origin, list[_Task]]:
    """Return what a shard's embeddings are made by, and its utterances."""
    layout = Layout.of(config)
    output_path = runner_class(config).output_path
    shard = read_index_shard(index_shard)
    origin = Origin(make_recipe(config), read_fingerprint(layout.encoder), shard.wav_paths)
    tasks = []
    for i, utt_id in enumerate(shard.utt_ids):
        audio_path = locate_audio(_manifest(config, split), shard.wav_paths[i])
        task = _Task(
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


def _manifest(config: DictConfig, split: str) -> Path:
    return Path(config.xvector.manifest_paths[split])


def _provider(
    config: DictConfig, split: str, fingerprint: str | None, gpu: str | None
) -> EnvironmentProvider:
    """Return the provider, its encoder being the fetched copy, checked to be whole."""
    layout = Layout.of(config)
    config = config.copy()
    if gpu and config.xvector.device:
        # Whatever its number was, it is the only one now.
        config.xvector.device = "cuda"
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
    params = {"manifest_path": str(_manifest(config, split)), "output_dir": str(output_dir)}
    return provider_class(config)(config, params=params)


def _embed(
    runner: BaseRunner, tasks: list[_Task], name: str, started: float, n_readers: int
) -> _Work:
    """Build the environment, run all tasks in it, and return what was done."""
    by_position = {task.position: task for task in tasks}
    watch = RunWatch(Layout.of(runner.provider.config).root)
    env = build_worker_environment(runner.provider)
    work = _Work(str(env.get("device", "none")), startup_seconds=time.monotonic() - started)
    stages = _JobStages(runner.in_stages(env), by_position, watch)
    outcomes = run_overlapped(stages, _batches(tasks, runner.batch_size), n_readers)
    with closing(outcomes), Progress(name, len(tasks)) as progress:
        for position, outcome in outcomes:
            _settle(by_position[position], outcome, runner.check_output, work)
            progress.update(1, work.audio_seconds)
        work.wall_seconds = progress.wall_seconds
    order = {task.utt_id: place for place, task in enumerate(tasks)}
    work.failures.sort(key=lambda failure: order[failure.utt_id])
    return work


class _JobStages(Stages):
    """A runner's stages, with what a job adds to them."""

    def __init__(self, stages: Stages, tasks: Mapping[int, _Task], watch: RunWatch) -> None:
        self.stages = stages
        self.tasks = tasks
        self.watch = watch

    def load(self, index: int) -> Any:
        _discard_stale(self.tasks[index])
        return self.stages.load(index)

    def compute(self, items: list[Any]) -> Sequence[Any]:
        self.watch.check()
        return self.stages.compute(items)

    def store(self, item: Any, result: Any) -> Any:
        return self.stages.store(item, result)


def _batches(tasks: list[_Task], batch_size: int | None) -> Iterator[Batch]:
    """Yield tasks of similar length together, the longest first."""
    batch = Batch([], 0.0)
    for task in sorted(tasks, key=lambda task: task.seconds, reverse=True):
        is_full = len(batch.indices) == (batch_size or 1)
        if batch.indices and (is_full or batch.seconds + task.seconds > MAX_BATCH_SECONDS):
            yield batch
            batch = Batch([], 0.0)
        batch = Batch([*batch.indices, task.position], batch.seconds + task.seconds)
    yield batch


def _discard_stale(task: _Task) -> None:
    """Remove an output that is about to be replaced, so that no runner takes it for its own.

    While the audio is gone, nothing can replace it: it stays, if it was made in the same way.
    """
    earlier = read_provenance(task.output)
    is_gone = audio_version(task.audio_path) is None
    if not (is_gone and is_same_but_audio(earlier, task.made_by)):
        discard(task.output)


def _concerns_all(error: Exception, work: _Work) -> bool:
    """Tell whether an exception says more about this machine or the task than of one utterance."""
    if isinstance(error, UtteranceError):
        return False
    if isinstance(error, XVectorsError | MemoryError):
        return True
    if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
        return True
    if isinstance(error, RuntimeError) and ("out of memory" in str(error) or "CUDA" in str(error)):
        return True
    return work.n_written == 0 and len(work.failures) >= MAX_FAILURES_AT_FIRST


def _describe(error: Exception) -> str:
    logger.warning("unexpected", exc_info=error)
    return f"{type(error).__name__}: {first_line(error)}"


def _unsound(output: Path, check_output: Callable[[Path], Any]) -> str | None:
    """Return what is wrong with a file that a runner has left, None if it is sound."""
    if not output.is_file():
        return f"the runner left no file {output}"
    try:
        check_output(output)
    except Exception as error:  # a damaged file may make a reader raise anything
        return f"{output}: {first_line(error)}"
    return None


def _settle(task: _Task, result: Any, check_output: Callable[[Path], Any], work: _Work) -> None:
    """Count what became of a task, and see to it that its output carries its provenance.

    What goes wrong with an utterance costs only that utterance.

    Args:
        task: The task.
        result: The runner's `Outcome`, another result of a runner's own, or an exception.
        check_output: The runner's.
        work: Where to count.

    """
    if isinstance(result, Exception):
        if _concerns_all(result, work):
            raise result
        reason = str(result) if isinstance(result, UtteranceError) else _describe(result)
        result = {"status": "failed", "reason": reason}
    outcome: Mapping[str, Any] = result if isinstance(result, dict) else {}
    if outcome.get("utt_id", task.utt_id) != task.utt_id:
        raise ShardError(
            f"{task.utt_id}: the manifest changed while the job ran, it has "
            f"{outcome['utt_id']} there now; run the same command again"
        )
    failure = None
    if outcome.get("status") == "failed":
        failure = outcome.get("reason", "the runner gave no reason")
    elif read_provenance(task.output) is None:
        # A runner of another task, whose file has yet to be checked and stamped.
        failure = _unsound(task.output, check_output)
        if failure is None:
            stamp(task.output, task.made_by)
    if failure is not None:
        work.failures.append(Failure(task.utt_id, task.wav_path, failure))
        return
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
