"""Collecting a split: every embedding checked, and the tables that list them written."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from xvectors.config import import_class
from xvectors.errors import ShardError
from xvectors.files import remove_leftovers, write_atomically
from xvectors.layout import Layout
from xvectors.manifest import Manifest, read_manifest
from xvectors.markers import DoneMarker, read_marker
from xvectors.runner import BaseRunner
from xvectors.sharding import IndexShard, read_index_shard

logger = logging.getLogger(__name__)

SECONDS_PER_HOUR = 3600


def collect_split(config: DictConfig, split: str, shards: list[str]) -> None:
    """Check a split's embeddings and write ``<split>.tsv`` and ``<split>.failed.tsv``.

    Args:
        config: A resolved configuration.
        split: Name of the split.
        shards: Names of its shards, all of them done.

    Raises:
        ShardError: An utterance is neither embedded nor listed as failed, or an embedding is
            damaged. Damaged ones are removed and their shards' markers too, so that the next
            run makes them anew.

    """
    layout = Layout.of(config)
    manifest = read_manifest(Path(config.xvector.manifest_paths[split]))
    markers = {shard: read_marker(layout.marker(split, shard)) for shard in shards}
    contents = {shard: read_index_shard(layout.index_shard(split, shard)) for shard in shards}
    failed = {failure.utt_id for marker in markers.values() for failure in marker.failures}
    _check(config, layout, split, contents, failed)
    seconds = _seconds(contents.values(), manifest)
    runner = _runner_class(config)
    rows = [
        (
            utterance.utt_id,
            utterance.speaker_id,
            os.path.abspath(runner.output_path(layout.embeddings(split), utterance.utt_id)),  # noqa: PTH100
            f"{duration:.4f}",
        )
        for utterance, duration in zip(manifest.utterances, seconds, strict=True)
        if utterance.utt_id not in failed
    ]
    failures = [
        (failure.utt_id, failure.wav_path, " ".join(failure.reason.split()))
        for marker in markers.values()
        for failure in marker.failures
    ]
    _write_table(layout.failures(split), ("utt_id", "wav_path", "reason"), failures)
    _write_table(layout.index(split), ("utt_id", "speaker_id", "path", "seconds"), rows)
    for folder, prefix in (
        (layout.embeddings(split), ""),
        (layout.plan(split).with_suffix(""), ""),
        (layout.root, f"{split}."),
    ):
        if folder.is_dir():
            remove_leftovers(folder, prefix)
    _report(split, list(markers.values()), sum(seconds))


def _check(
    config: DictConfig,
    layout: Layout,
    split: str,
    contents: dict[str, IndexShard],
    failed: set[str],
) -> None:
    runner = _runner_class(config)
    problems = []
    for shard, content in contents.items():
        for utt_id in content.utt_ids:
            if utt_id in failed:
                continue
            output = runner.output_path(layout.embeddings(split), utt_id)
            try:
                runner.check_output(output)
            except Exception as error:  # a damaged file may make torch raise anything
                problems.append(f"{split}: {utt_id}: {output} {_first_line(error)}")
                output.unlink(missing_ok=True)
                layout.marker(split, shard).unlink(missing_ok=True)
    if problems:
        problems.append(f"{split}: run the same command again to make these embeddings anew")
        raise ShardError("\n".join(problems))


def _seconds(contents: Iterable[IndexShard], manifest: Manifest) -> list[float]:
    """Return each utterance's seconds in manifest order.

    Raises:
        ShardError: The shards do not hold the manifest's utterances.

    """
    found: dict[str, float] = {}
    for content in contents:
        found.update(zip(content.utt_ids, content.seconds, strict=True))
    try:
        return [found[utterance.utt_id] for utterance in manifest.utterances]
    except KeyError as error:
        raise ShardError(
            f"{manifest.path}: {error} is in no shard, the manifest changed while the run went "
            "on; run the same command again"
        ) from error


def _write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    lines = ["\t".join(row) for row in (header, *rows)]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _report(split: str, markers: list[DoneMarker], audio_seconds: float) -> None:
    logger.info(
        "%s: %d embedded, %d skipped, %d failed, %.3f hours of audio, %.1f s of work in %d shards",
        split,
        sum(marker.n_written for marker in markers),
        sum(marker.n_skipped for marker in markers),
        sum(marker.n_failed for marker in markers),
        audio_seconds / SECONDS_PER_HOUR,
        sum(marker.startup_seconds + marker.wall_seconds for marker in markers),
        len(markers),
    )


def _runner_class(config: DictConfig) -> type[BaseRunner]:
    runner: type[BaseRunner] = import_class(config.xvector.runner, "xvector.runner")
    return runner


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
