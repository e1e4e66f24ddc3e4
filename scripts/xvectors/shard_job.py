"""A shard job: embeds what is missing of one index shard and accounts for it."""

import logging
import time
from contextlib import closing
from dataclasses import dataclass, field

from omegaconf import DictConfig

from xvectors.config import first_line
from xvectors.errors import (
    EncoderError,
    ShardError,
    UtteranceError,
    XVectorsError,
    machine_problem,
)
from xvectors.fetching import fingerprint_of
from xvectors.files import flush_to_disk
from xvectors.gpu_lease import GpuLease, node_name
from xvectors.layout import Layout
from xvectors.markers import DoneMarker, Failure, hash_outputs, write_marker
from xvectors.progress import Progress, speed
from xvectors.provider import EnvironmentProvider, provider_class
from xvectors.run_lock import RunWatch
from xvectors.runner import Outcome, build_worker_environment, runner_class
from xvectors.stages import run_overlapped
from xvectors.tasks import Task, TaskStages, manifest_of, tasks_of_shard

logger = logging.getLogger(__name__)

MAX_NAMES = 10
# Threads that read: on a CPU as many as the job's, but they may have to wait for the disk.
MIN_READERS = 2
GPU_READERS = 8
# So many unexpected failures without a single success are a defect of the task.
MAX_FAILURES_AT_FIRST = 10


@dataclass
class _Work:
    """What a job did."""

    device: str = "none"
    startup_seconds: float = 0.0
    wall_seconds: float = 0.0
    audio_seconds: float = 0.0
    n_written: int = 0
    n_skipped: int = 0
    n_unexpected: int = 0
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    """What a job is told: a shard of a split, when its process started, and its processors."""

    config: DictConfig
    split: str
    shard: str
    started: float
    threads: int

    @property
    def name(self) -> str:
        return f"{self.split} {self.shard}"

    @property
    def layout(self) -> Layout:
        return Layout.of(self.config)


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
    job = _Job(config, split, shard, started, threads)
    layout = job.layout
    origin, tasks = tasks_of_shard(config, split, layout.index_shard(split, shard))
    missing = [task for task in tasks if not task.is_current]
    work = _Work()
    if missing:
        # It lists vectors that are about to be replaced; collect_split writes it anew.
        layout.index(split).unlink(missing_ok=True)
        work = _embed_missing(job, missing, origin.fingerprint)
    failed = {failure.utt_id for failure in work.failures}
    # Power loss must not leave a marker whose embeddings were still on their way to the disk.
    flush_to_disk(layout.root)
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
        outputs=hash_outputs(task.output for task in tasks if task.utt_id not in failed),
        failures=work.failures,
    )
    _report(job, account)
    RunWatch(layout.root).check()
    if account.n_failed and config.xvector.on_error == "fail":
        write_marker(layout.unfinished(split, shard), account)
        names = ", ".join(failure.utt_id for failure in account.failures[:MAX_NAMES])
        names += ", ..." if account.n_failed > MAX_NAMES else ""
        raise ShardError(
            f"{job.name}: {account.n_failed} of {account.n_utterances} utterances failed "
            f"({names}), all others are embedded; mend them and run the same command again, or "
            "set xvector.on_error to skip"
        )
    layout.unfinished(split, shard).unlink(missing_ok=True)
    write_marker(layout.marker(split, shard), account)


def _embed_missing(job: _Job, missing: list[Task], fingerprint: str | None) -> _Work:
    """Take a GPU if there is one, build the environment, and run the tasks."""
    asked = time.monotonic()
    xvector = job.config.xvector
    with GpuLease(xvector.device, xvector.jobs_per_gpu) as lease:
        waited = time.monotonic() - asked
        if lease.gpu:
            logger.info("%s: on GPU %s of %s", job.name, lease.gpu, node_name())
        provider = _provider(job, fingerprint, lease.gpu)
        runner = runner_class(job.config)(provider, xvector.batch_size)
        env = build_worker_environment(provider)
        if lease.gpu and env.get("device") == "cpu":
            logger.warning("%s: PyTorch can use no GPU here, going on with the CPU", job.name)
            lease.release()
        work = _Work(
            device=str(env.get("device", "none")),
            startup_seconds=time.monotonic() - job.started - waited,
        )
        stages = TaskStages(runner, runner.in_stages(env), missing)
        n_readers = GPU_READERS if lease.gpu else max(job.threads, MIN_READERS)
        _run(stages, runner.batch_size or 1, n_readers, Progress(job.name, len(missing)), work)
    return work


def _provider(job: _Job, fingerprint: str | None, gpu: str | None) -> EnvironmentProvider:
    """Return the provider, its encoder being the fetched copy, checked to be whole."""
    config = job.config.copy()
    if gpu and config.xvector.device:
        # Whatever its number was, it is the only one now.
        config.xvector.device = "cuda"
    if fingerprint is not None:
        folder = job.layout.encoder.parent
        if fingerprint_of(folder) != fingerprint:
            raise EncoderError(
                f"{folder}: the encoder's copy is damaged; run the same command again, which "
                "fetches it anew"
            )
        config.xvector.pretrained_model = str(folder)
    output_dir = job.layout.embeddings(job.split)
    output_dir.mkdir(parents=True, exist_ok=True)
    manifest = manifest_of(config, job.split)
    params = {"manifest_path": str(manifest), "output_dir": str(output_dir)}
    return provider_class(config)(config, params=params)


def _run(
    stages: TaskStages, batch_size: int, n_readers: int, progress: Progress, work: _Work
) -> None:
    """Run all tasks, and count in `work` what became of them."""
    # Utterances of similar length together, and the most memory at the beginning.
    longest_first = sorted(stages.tasks.values(), key=lambda task: task.seconds, reverse=True)
    positions = [task.position for task in longest_first]
    outcomes = run_overlapped(stages, positions, batch_size, n_readers)
    with closing(outcomes), progress:
        for position, outcome in outcomes:
            _count(stages.tasks[position], outcome, work)
            progress.update(1, work.audio_seconds)
        work.wall_seconds = progress.wall_seconds
    order = {task.utt_id: place for place, task in enumerate(stages.tasks.values())}
    work.failures.sort(key=lambda failure: order[failure.utt_id])


def _concerns_all(error: Exception, work: _Work) -> bool:
    """Tell whether an exception says more about this machine or the task than of one utterance."""
    if isinstance(error, UtteranceError):
        return False
    if isinstance(error, XVectorsError) or machine_problem(error):
        return True
    work.n_unexpected += 1
    return work.n_written == 0 and work.n_unexpected > MAX_FAILURES_AT_FIRST


def _describe(error: Exception) -> str:
    logger.warning("unexpected", exc_info=error)
    return f"{type(error).__name__}: {first_line(error)}"


def _count(task: Task, outcome: Outcome | BaseException, work: _Work) -> None:
    """Count what became of a task; what goes wrong with an utterance costs only that utterance."""
    if isinstance(outcome, BaseException):
        if not isinstance(outcome, Exception) or _concerns_all(outcome, work):
            raise outcome
        is_expected = isinstance(outcome, UtteranceError)
        reason = str(outcome) if is_expected else _describe(outcome)
        outcome = {"status": "failed", "reason": reason}
    if outcome["status"] == "failed":
        work.failures.append(Failure(task.utt_id, task.wav_path, outcome["reason"]))
    elif outcome["status"] == "skipped":
        work.n_skipped += 1
    else:
        work.n_written += 1
        work.audio_seconds += task.seconds


def _report(job: _Job, marker: DoneMarker) -> None:
    for failure in marker.failures:
        logger.error("%s: %s: %s", job.split, failure.utt_id, failure.reason)
    logger.info(
        "%s: %d embedded, %d skipped, %d failed, %s",
        job.name,
        marker.n_written,
        marker.n_skipped,
        marker.n_failed,
        speed(marker.n_written, marker.audio_seconds, marker.wall_seconds),
    )
