"""A shard job: it embeds the missing utterances of an index shard, and writes its done-marker."""

import logging
import resource
import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.encoders.identity import provenance_metadata
from xvectors.encoders.source import fingerprint_of
from xvectors.errors import EncoderError, ShardError
from xvectors.files.atomic import flush_to_disk
from xvectors.files.run_lock import RunWatch
from xvectors.job.gpu_lease import GpuLease, node_name
from xvectors.job.progress import Progress, speed
from xvectors.job.shard_utterances import ShardUtterances
from xvectors.job.tally import Tally
from xvectors.sharding.index_shards import hash_members
from xvectors.sharding.markers import DoneMarker, write_last_work, write_marker
from xvectors.storage.base import Storage
from xvectors.storage.packs import check_names
from xvectors.tasks.incremental import IncrementalPipeline, OutputCheck
from xvectors.tasks.outputs import is_own, runner_class, storage_of
from xvectors.tasks.pipeline import run_threaded
from xvectors.tasks.provider import EnvironmentProvider, provider_class
from xvectors.tasks.runner import build_worker_environment

logger = logging.getLogger(__name__)

MAX_NAMES = 10
# Threads that read. They may wait for the disk, so there are at least two.
MIN_READERS = 2


@dataclass(frozen=True)
class _Job:
    """A shard of a split, its utterances, when the job's process started, and its processors."""

    settings: Settings
    split: str
    shard: str
    utterances: ShardUtterances
    started: float
    threads: int

    @property
    def name(self) -> str:
        return f"{self.split} {self.shard}"

    @property
    def layout(self) -> Layout:
        return Layout.of(self.settings)

    @cached_property
    def watch(self) -> RunWatch:
        return RunWatch(self.layout.root)


def embed_shard(settings: Settings, split: str, shard: str, started: float, threads: int) -> None:
    """Embed the utterances of a shard that have no current embedding, then write its marker.

    The environment is built once, and not at all when nothing is missing. `started` is when the
    process started, by ``time.monotonic``; `threads` is how many processors the job may keep busy.

    Raises:
        ShardError: Utterances failed under ``on_error: fail``; the message names them. There
            is no marker then. Finished embeddings are kept.

    """
    utterances = ShardUtterances(settings, split, shard)
    job = _Job(settings, split, shard, utterances, started, threads)
    with ExitStack() as held:
        lease = None
        if not is_own(settings.xvector.runner):
            # A user's module may ask for GPUs when it is imported. That starts CUDA, which never
            # notices a GPU that the job leases later.
            lease = held.enter_context(_lease(job))
        storage = storage_of(settings, split, shard, utterances.content.utt_ids)
        _embed(job, held.enter_context(closing(storage)), lease)


def _lease(job: _Job) -> GpuLease:
    """Take a GPU if there is one."""
    lease = GpuLease(job.settings.xvector.device, job.settings.xvector.jobs_per_gpu)
    if lease.gpu:
        logger.info("%s: on GPU %s of %s", job.name, lease.gpu, node_name())
    return lease


def _embed(job: _Job, storage: Storage, lease: GpuLease | None) -> None:
    """Embed the missing utterances, and write the marker.

    Without a lease, a GPU is taken when it is needed.
    """
    utterances = job.utterances
    shard = utterances.content
    if job.settings.xvector.storage == "packed":
        check_names(job.name, shard.utt_ids)
    outputs = OutputCheck(utterances.target_of, storage, job.watch.check_at_times)
    outputs.survey(shard.positions, max(job.threads, MIN_READERS))
    tally = Tally(shard, n_skipped=len(shard.utt_ids) - len(outputs.missing))
    for position, decoded in outputs.decoded.items():
        tally.decoded[utterances.row_of(position)] = decoded
    rows = [utterances.row_of(position) for position in outputs.missing]
    path = job.layout.progress(job.split, job.shard)
    progress = Progress(path, job.watch.run, rows, tally)
    if outputs.missing:
        # It lists vectors that are about to be replaced; collect_split writes it again.
        job.layout.table(job.split).unlink(missing_ok=True)
        with lease or _lease(job) as taken:
            _embed_missing(job, outputs, progress, taken)
    marker = _marker(job, tally)
    _warn_of_durations(job, tally)
    _report(job, marker)
    job.watch.check()
    if marker.n_failed and job.settings.xvector.on_error == "fail":
        write_marker(job.layout.unfinished(job.split, job.shard), marker)
        names = ", ".join(failure.utt_id for failure in marker.failures[:MAX_NAMES])
        names += ", ..." if marker.n_failed > MAX_NAMES else ""
        raise ShardError(
            f"{job.name}: {marker.n_failed} of {marker.n_utterances} utterances failed ({names}). "
            "All others are embedded. Fix these and rerun the same command, or set "
            "xvector.on_error to skip"
        )
    _finish(job, storage, marker)


def _marker(job: _Job, tally: Tally) -> DoneMarker:
    source = job.utterances.source
    return DoneMarker(
        n_utterances=len(tally.shard.utt_ids),
        n_written=tally.n_written,
        n_skipped=tally.n_skipped,
        n_failed=len(tally.failures),
        audio_seconds=round(tally.audio_seconds, 3),
        startup_seconds=round(tally.startup_seconds, 3),
        wall_seconds=round(tally.wall_seconds, 3),
        device=tally.device,
        precision=job.settings.xvector.precision,
        encoder=source.fingerprint,
        numerics=source.numerics,
        failures=[failure for _, failure in sorted(tally.failures.items())],
        storage=job.settings.xvector.storage,
        members=hash_members(tally.shard),
        run=job.watch.run,
        n_silent=tally.n_silent,
        seconds=tally.differing_seconds(),
        n_misstated=len(tally.wrongly_stated()),
        speech_seconds=tally.seconds_of_speech(),
    )


def _finish(job: _Job, storage: Storage, marker: DoneMarker) -> None:
    """Bring the embeddings into their final form, and then write the marker."""
    layout, utt_ids = job.layout, job.utterances.content.utt_ids
    storage.finish(utt_ids, provenance_metadata(job.settings))
    # Power loss must not leave a marker whose embeddings were still on their way to the disk.
    flush_to_disk(layout.root)
    failed = {failure.utt_id for failure in marker.failures}
    embedded = (utt_id for utt_id in utt_ids if utt_id not in failed)
    layout.unfinished(job.split, job.shard).unlink(missing_ok=True)
    marker = replace(marker, outputs=storage.version(embedded))
    if marker.n_written:
        write_last_work(layout.last_work(job.split, job.shard), marker)
    write_marker(layout.marker(job.split, job.shard), marker)


def _embed_missing(job: _Job, outputs: OutputCheck, progress: Progress, lease: GpuLease) -> None:
    """Build the environment, embed the missing utterances, and count their outcomes."""
    provider = _provider(job, lease.gpu)
    runner = runner_class(job.settings)(provider, job.settings.xvector.batch_size)
    env = build_worker_environment(provider)
    if lease.gpu and env.get("device") == "cpu":
        from xvectors.encoders.device import why_no_gpu  # noqa: PLC0415 - imports torch

        logger.warning(
            "%s: PyTorch can use no GPU here (%s). Continuing on the CPU; set xvector.device "
            "to cpu to run a job on every processor",
            job.name,
            why_no_gpu(),
        )
        lease.release()
    tally = progress.tally
    tally.device = str(env.get("device", "none"))
    tally.startup_seconds = time.monotonic() - job.started - lease.waited_seconds
    pipeline = IncrementalPipeline(runner.build_pipeline(env), outputs)
    outcomes = _outcomes(job, pipeline, runner.batch_size or 1, tally.device)
    with closing(outcomes), progress:
        for position, outcome in outcomes:
            row = job.utterances.row_of(position)
            tally.count(row, outcome, outputs.missing[position])
            progress.count(row)
        tally.wall_seconds = progress.wall_seconds


def _provider(job: _Job, gpu: str | None) -> EnvironmentProvider:
    """Return the provider, with the fetched copy of the encoder, which is checked to be whole."""
    config = job.settings.as_omegaconf()
    if gpu and config.xvector.device:
        # It is the only one that this process sees now, so its number has changed.
        config.xvector.device = "cuda"
    fingerprint = job.utterances.source.fingerprint
    if fingerprint is not None:
        folder = job.layout.encoder_folder
        if fingerprint_of(folder) != fingerprint:
            raise EncoderError(
                f"{folder}: the encoder's copy is damaged. Rerun the same command, which fetches "
                "it again"
            )
        config.xvector.pretrained_model = str(folder)
    output_dir = job.layout.embeddings(job.split)
    output_dir.mkdir(parents=True, exist_ok=True)
    params = {"manifest_path": str(job.utterances.manifest), "output_dir": str(output_dir)}
    return provider_class(job.settings)(config, params=params)


def _outcomes(
    job: _Job, pipeline: IncrementalPipeline, batch_size: int, device: str
) -> Generator[tuple[int, Any], None, None]:
    """Yield positions with their outcomes, from processes on a GPU and from threads elsewhere."""
    longest_first = job.utterances.in_reading_order(pipeline.outputs.missing)
    if device.startswith("cuda") and pipeline.encoder is not None:
        # Only here, because they import torch.
        from xvectors.encoders.encoder import Encoder  # noqa: PLC0415
        from xvectors.job.encoder_server import run_in_processes  # noqa: PLC0415

        if isinstance(pipeline.encoder, Encoder):
            yield from run_in_processes(pipeline, longest_first, job.threads - 1)
            pipeline.outputs.storage.reload()
            return
    positions = [position for _, position in longest_first]
    yield from run_threaded(pipeline, positions, batch_size, max(job.threads, MIN_READERS))


def _warn_of_durations(job: _Job, tally: Tally) -> None:
    shard, rows = tally.shard, tally.wrongly_stated()
    if rows:
        logger.warning(
            "%s: manifest or header state a wrong duration for %d of %d utterances. "
            "The table lists what was decoded, for instance %.2f s of %s instead of %.2f s",
            job.name,
            len(rows),
            len(shard.utt_ids),
            tally.decoded[rows[0]].seconds,
            shard.utt_ids[rows[0]],
            shard.seconds[rows[0]],
        )


def _report(job: _Job, marker: DoneMarker) -> None:
    for failure in marker.failures:
        logger.info("%s: %s: %s", job.split, failure.utt_id, failure.reason)
    logger.info(
        "%s: %d embedded, %d already embedded, %d failed, %s%s, %d MB of memory at most",
        job.name,
        marker.n_written,
        marker.n_skipped,
        marker.n_failed,
        speed(marker.n_written, marker.audio_seconds, marker.wall_seconds),
        f", {marker.n_silent} silent" if marker.n_silent else "",
        # Linux counts in units of 1024 bytes.
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 10**6,
    )
