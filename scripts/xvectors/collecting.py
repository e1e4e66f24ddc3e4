"""Collecting a split: every embedding checked, and the tables that list them written."""

import os
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from xvectors.config import first_line
from xvectors.errors import ShardError
from xvectors.files import remove_leftovers
from xvectors.layout import Layout
from xvectors.manifest import Manifest, read_manifest
from xvectors.markers import DoneMarker, read_marker
from xvectors.provenance import discard, parse_provenance, read_provenance
from xvectors.runner import runner_class
from xvectors.sharding import IndexShard, read_index_shard
from xvectors.tables import FailureRow, IndexRow, write_failures, write_index


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
    markers = [read_marker(layout.marker(split, shard)) for shard in shards]
    contents = {shard: read_index_shard(layout.index_shard(split, shard)) for shard in shards}
    failures = [failure for marker in markers for failure in marker.failures]
    failed = {failure.utt_id for failure in failures}
    outputs = _check(config, layout, split, contents, failed)
    seconds = _seconds(contents.values(), manifest)
    rows = [
        # Absolute, so that the table can be read from any folder.
        IndexRow(utt_id, speaker_id, os.path.abspath(outputs[utt_id]), seconds[utt_id])  # noqa: PTH100
        for utt_id, _, speaker_id, *_ in manifest.utterances
        if utt_id not in failed
    ]
    position = {utterance.utt_id: i for i, utterance in enumerate(manifest.utterances)}
    failures.sort(key=lambda failure: position[failure.utt_id])
    reasons = [
        FailureRow(one.utt_id, one.wav_path, " ".join(one.reason.split())) for one in failures
    ]
    write_failures(layout.failures(split), reasons)
    write_index(layout.index(split), rows)
    _discard_strays(layout.embeddings(split), set(outputs.values()), markers[0])
    for folder in {
        layout.index_shard(split, "any").parent,
        *(output.parent for output in outputs.values()),
    }:
        remove_leftovers(folder)
    for path in (layout.plan(split), layout.index(split), layout.failures(split)):
        remove_leftovers(path.parent, path.name)


def _check(
    config: DictConfig,
    layout: Layout,
    split: str,
    contents: dict[str, IndexShard],
    failed: set[str],
) -> dict[str, Path]:
    """Return the sound output of every utterance but the failed ones."""
    runner = runner_class(config)
    outputs = {}
    problems = []
    for shard, content in contents.items():
        for utt_id in content.utt_ids:
            if utt_id in failed:
                continue
            outputs[utt_id] = runner.output_path(layout.embeddings(split), utt_id)
            try:
                runner.check_output(outputs[utt_id])
            except Exception as error:  # a damaged file may make torch raise anything
                problems.append(f"{split}: {utt_id}: {outputs[utt_id]}: {first_line(error)}")
                discard(outputs[utt_id])
                layout.marker(split, shard).unlink(missing_ok=True)
    if problems:
        problems.append(f"{split}: run the same command again to make these embeddings anew")
        raise ShardError("\n".join(problems))
    return outputs


def _discard_strays(folder: Path, outputs: set[Path], marker: DoneMarker) -> None:
    """Remove the embeddings of utterances that left the manifest, if made by another encoder.

    Those of the same encoder stay, for the utterances may come back.
    """
    if not folder.is_dir():
        return
    made_by = marker.recipe | {"encoder": marker.encoder}
    for path in folder.iterdir():
        if path not in outputs and path.suffix == ".pt":
            found = parse_provenance(read_provenance(path))
            if found and not made_by.items() <= found.items():
                discard(path)


def _seconds(contents: Iterable[IndexShard], manifest: Manifest) -> dict[str, float]:
    """Return the seconds of every utterance of the manifest.

    Raises:
        ShardError: The shards do not hold the manifest's utterances.

    """
    seconds: dict[str, float] = {}
    for content in contents:
        seconds.update(zip(content.utt_ids, content.seconds, strict=True))
    if seconds.keys() != {utterance.utt_id for utterance in manifest.utterances}:
        raise ShardError(
            f"{manifest.path}: changed while the run went on; run the same command again"
        )
    return seconds
