"""A shard job: embeds what is missing of one index shard and accounts for it."""

import logging
import os
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.encoders.identity import describe_origin
from xvectors.encoders.source import fingerprint_of
from xvectors.errors import EncoderError, ShardError
from xvectors.files.atomic import flush_to_disk
from xvectors.files.run_lock import RunWatch
from xvectors.job.gpu_lease import GpuLease, node_name
from xvectors.job.progress import Progress, speed
from xvectors.job.shard_utterances import ShardPipeline, ShardUtterances, manifest_of
from xvectors.job.tally import Tally, count
from xvectors.sharding.markers import DoneMarker, write_marker
from xvectors.storage.base import Storage
from xvectors.storage.packs import check_names
from xvectors.tasks.outputs import runner_class, storage_of
from xvectors.tasks.pipeline import run_threaded
from xvectors.tasks.provider import EnvironmentProvider, provider_class
from xvectors.tasks.runner import build_worker_environment

logger = logging.getLogger(__name__)

MAX_NAMES = 10
# Makes PyTorch ask the driver for GPUs, not CUDA.
ASK_DRIVER = "PYTORCH_NVML_BASED_CUDA_CHECK"
# Threads that read: on a CPU as many as the job's, but they may have to wait for the disk.
MIN_READERS = 2
# Longer recordings a GPU's job reads by itself, so that not every process of it holds one.
LONG_SECONDS = 600


@dataclass(frozen=True)
class _Job:
    """What a job is told: a shard of a split, when its process started, and its processors."""

    config: Settings
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


def embed_shard(config: Settings, split: str, shard: str, started: float, threads: int) -> None:
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
    # A user's module may ask for GPUs when it is imported, as SpeechBrain does. That would start
    # CUDA, which sees for good what it sees then, whatever the job leases later.
    os.environ[ASK_DRIVER] = "1"
    job = _Job(config, split, shard, started, threads)
    utterances = ShardUtterances(config, split, shard)
    with closing(storage_of(config, split, shard, utterances.content.utt_ids)) as storage:
        _embed(job, utterances, storage)


def _embed(job: _Job, utterances: ShardUtterances, storage: Storage) -> None:
    """Embed what is missing in the storage, and write the marker."""
    missing = [
        row
        for row, utterance in enumerate(utterances)
        if not storage.is_current(utterance.utt_id, utterance.provenance)
    ]
    if job.config.xvector.storage == "packed":
        check_names(job.name, utterances.content.utt_ids)
    work = Tally(n_skipped=len(utterances) - len(missing))
    if missing:
        # It lists vectors that are about to be replaced; collect_split writes it anew.
        job.layout.index(job.split).unlink(missing_ok=True)
        _embed_missing(job, utterances, missing, storage, work)
    account = _account(job, utterances, work)
    _report(job, account)
    RunWatch(job.layout.root).check()
    if account.n_failed and job.config.xvector.on_error == "fail":
        write_marker(job.layout.unfinished(job.split, job.shard), account)
        names = ", ".join(failure.utt_id for failure in account.failures[:MAX_NAMES])
        names += ", ..." if account.n_failed > MAX_NAMES else ""
        raise ShardError(
            f"{job.name}: {account.n_failed} of {account.n_utterances} utterances failed "
            f"({names}), all others are embedded; mend them and run the same command again, or "
            "set xvector.on_error to skip"
        )
    _finish(job, utterances.content.utt_ids, storage, account)


def _account(job: _Job, utterances: ShardUtterances, work: Tally) -> DoneMarker:
    """Return what is told of the job."""
    return DoneMarker(
        n_utterances=len(utterances),
        n_written=work.n_written,
        n_skipped=work.n_skipped,
        n_failed=len(work.failures),
        audio_seconds=round(work.audio_seconds, 3),
        startup_seconds=round(work.startup_seconds, 3),
        wall_seconds=round(work.wall_seconds, 3),
        device=work.device,
        precision=job.config.xvector.precision,
        encoder=utterances.origin.fingerprint,
        numerics=utterances.origin.numerics,
        failures=[failure for _, failure in sorted(work.failures.items())],
        storage=job.config.xvector.storage,
    )


def _finish(job: _Job, utt_ids: list[str], storage: Storage, account: DoneMarker) -> None:
    """Bring the embeddings into their final form, and then write the marker."""
    layout = job.layout
    storage.finish(utt_ids, describe_origin(job.config))
    # Power loss must not leave a marker whose embeddings were still on their way to the disk.
    flush_to_disk(layout.root)
    failed = {failure.utt_id for failure in account.failures}
    embedded = (utt_id for utt_id in utt_ids if utt_id not in failed)
    layout.unfinished(job.split, job.shard).unlink(missing_ok=True)
    account = replace(account, outputs=storage.version(embedded))
    write_marker(layout.marker(job.split, job.shard), account)


def _embed_missing(
    job: _Job, utterances: ShardUtterances, missing: list[int], storage: Storage, work: Tally
) -> None:
    """Take a GPU if there is one, build the environment, and embed `missing` rows."""
    asked = time.monotonic()
    xvector = job.config.xvector
    with GpuLease(xvector.device, xvector.jobs_per_gpu) as lease:
        waited = time.monotonic() - asked
        # From here on CUDA itself may be asked, which notices when the driver is too old.
        os.environ.pop(ASK_DRIVER, None)
        if lease.gpu:
            logger.info("%s: on GPU %s of %s", job.name, lease.gpu, node_name())
        provider = _provider(job, utterances.origin.fingerprint, lease.gpu)
        runner = runner_class(job.config)(provider, xvector.batch_size)
        # A provider of one's own may have another storage.
        env = {"storage": storage, **build_worker_environment(provider)}
        if lease.gpu and env.get("device") == "cpu":
            from xvectors.encoders.device import why_no_gpu  # noqa: PLC0415 - imports torch

            logger.warning(
                "%s: PyTorch can use no GPU here (%s), going on with the CPU; with "
                "xvector.device: cpu every processor would have a job",
                job.name,
                why_no_gpu(),
            )
            lease.release()
        work.device = str(env.get("device", "none"))
        work.startup_seconds = time.monotonic() - job.started - waited
        watch = RunWatch(job.layout.root)
        pipeline = ShardPipeline(runner.build_pipeline(env), utterances, storage, watch)
        _run(job, pipeline, missing, runner.batch_size or 1, work)


def _provider(job: _Job, fingerprint: str | None, gpu: str | None) -> EnvironmentProvider:
    """Return the provider, its encoder being the fetched copy, checked to be whole."""
    config = job.config.as_omegaconf()
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
    manifest = manifest_of(job.config, job.split)
    params = {"manifest_path": str(manifest), "output_dir": str(output_dir)}
    return provider_class(job.config)(config, params=params)


def _run(
    job: _Job, pipeline: ShardPipeline, missing: list[int], batch_size: int, work: Tally
) -> None:
    """Embed the utterances of `missing` rows, and count in `work` what became of them."""
    content = pipeline.utterances.content
    # Utterances of similar length together, and the most memory at the beginning.
    longest_first = sorted(missing, key=content.seconds.__getitem__, reverse=True)
    progress = Progress(job.name, len(missing))
    outcomes = _outcomes(pipeline, longest_first, batch_size, job.threads, work.device)
    with closing(outcomes), progress:
        for position, outcome in outcomes:
            count(content, pipeline.utterances.row_of(position), outcome, work)
            progress.count(work.audio_seconds)
        work.wall_seconds = progress.wall_seconds


def _outcomes(
    pipeline: ShardPipeline, rows: list[int], batch_size: int, threads: int, device: str
) -> Generator[tuple[int, Any], None, None]:
    """Yield positions with what became of them: on a GPU by processes, elsewhere by threads."""
    content = pipeline.utterances.content
    positions = [content.positions[row] for row in rows]
    if device.startswith("cuda") and pipeline.encoder is not None:
        # Only here, as they import torch.
        from xvectors.encoders.encoder import Encoder  # noqa: PLC0415
        from xvectors.job.encoder_server import run_in_processes  # noqa: PLC0415

        if isinstance(pipeline.encoder, Encoder):
            n_long = sum(content.seconds[row] > LONG_SECONDS for row in rows)
            others = positions[n_long:]
            if pipeline.storage.is_remembered:
                for position in others:
                    pipeline.discard_stale(position)
            yield from run_in_processes(pipeline, others, batch_size, threads - 1)
            pipeline.storage.reload()
            positions, threads = positions[:n_long], MIN_READERS
    yield from run_threaded(pipeline, positions, batch_size, max(threads, MIN_READERS))


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
