"""Collection of a split: check every embedding and write the tables that list them."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.errors import ShardError, first_line
from xvectors.files.atomic import remove_leftovers
from xvectors.manifest.reading import Manifest, read_manifest
from xvectors.results.tables import (
    ExcludedRow,
    FailureRow,
    IndexRow,
    write_excluded,
    write_failures,
    write_index,
)
from xvectors.sharding.collected import write_collected
from xvectors.sharding.index_shards import read_index_shard
from xvectors.sharding.limits import Limits
from xvectors.sharding.markers import Failure, read_marker
from xvectors.storage import journal, packs
from xvectors.storage.provenance import parse_provenance
from xvectors.storage.pt_file import discard, read_provenance
from xvectors.tasks.outputs import storage_of

# Number of files compared at a time in the search for strays.
NAMES_AT_A_TIME = 100_000
# Another machine may not see all files of a job for this long after its end.
LATE_SECONDS = 10
SECONDS_BETWEEN_LOOKS = 0.2


class _Checked:
    """Outcome of each utterance by its position in the manifest, 37 bytes each.

    Attributes:
        shards: Number of each utterance's shard, -1 for none.
        names: Hashes of the utt_ids.
        outputs: Hashes of the paths of the embeddings.
        seconds: Durations.
        speech_seconds: Durations of the speech, NaN where they are not known.
        is_excluded: Whether each is beyond the limits.
        failures: Failed utterances by position.
        folders: Folders of the embeddings.
        problems: A line for each missing or damaged embedding.
        latest: The time of ``time.monotonic`` until which missing files are waited for.

    """

    def __init__(self, n_utterances: int) -> None:
        self.shards = np.full(n_utterances, -1, dtype=np.int32)
        self.names = np.zeros(n_utterances, dtype=np.int64)
        self.outputs = np.zeros(n_utterances, dtype=np.int64)
        self.seconds = np.zeros(n_utterances)
        self.speech_seconds = np.full(n_utterances, np.nan)
        self.is_excluded = np.zeros(n_utterances, dtype=bool)
        self.failures: dict[int, Failure] = {}
        self.folders: set[Path] = set()
        self.problems: list[str] = []
        self.latest = time.monotonic() + LATE_SECONDS


def collect_split(settings: Settings, split: str, shards: list[str]) -> None:
    """Check a split's embeddings and write ``<split>.tsv`` and ``<split>.failed.tsv``.

    With limits, also write ``<split>.excluded.tsv``. The headers of some recordings are wrong, so
    that utterances beyond the limits were embedded. These are excluded too. The done-markers are
    noted last. All of the split's shards must be done.

    Raises:
        ShardError: An utterance is neither embedded nor listed as failed, or an embedding is
            damaged. Damaged ones are removed with their shards' markers, so that the next run
            embeds them again.

    """
    layout = Layout.of(settings)
    manifest = read_manifest(Path(settings.xvector.manifest_paths[split]))
    checked = _Checked(len(manifest.utterances))
    for number, shard in enumerate(shards):
        _check_shard(settings, split, number, shard, checked)
    limits = Limits.of(settings)
    if limits:
        _exclude(layout.excluded_shard(split), manifest, limits, checked)
    if checked.problems:
        again = f"{split}: rerun the same command to make these embeddings again"
        raise ShardError("\n".join([*checked.problems, again]))
    failures = [checked.failures[position] for position in sorted(checked.failures)]
    reasons = (
        FailureRow(one.utt_id, one.wav_path, " ".join(one.reason.split())) for one in failures
    )
    write_failures(layout.failures(split), reasons)
    if limits:
        write_excluded(layout.excluded(split), _excluded_rows(manifest, checked))
    else:
        layout.excluded(split).unlink(missing_ok=True)
    rows = _rows(settings, split, shards, manifest, checked)
    write_index(layout.index(split), rows, with_speech=settings.xvector.vad is not None)
    write_collected(layout, split, shards)
    marker = read_marker(layout.marker(split, shards[0]))
    provenance = marker.numerics | {"encoder": marker.encoder}
    folder = layout.embeddings(split)
    _discard_strays(folder, checked.outputs, provenance)
    _discard_packs(folder, shards, provenance)
    for place in {layout.index_shard(split, "any").parent, *checked.folders}:
        remove_leftovers(place)
    tables = (layout.index(split), layout.failures(split), layout.excluded(split))
    for path in (layout.plan(split), *tables):
        remove_leftovers(path.parent, path.name)


def _check_shard(
    settings: Settings, split: str, number: int, shard: str, checked: _Checked
) -> None:
    """Check the embeddings of a shard's utterances, except the failed ones."""
    layout = Layout.of(settings)
    content = read_index_shard(layout.index_shard(split, shard))
    marker = layout.marker(split, shard)
    account = read_marker(marker)
    failed = {failure.utt_id: failure for failure in account.failures}
    if max(content.positions, default=-1) >= len(checked.shards):
        raise _changed(Path(settings.xvector.manifest_paths[split]))
    checked.shards[content.positions] = number
    storage = storage_of(settings, split, shard)
    columns = (content.positions, content.utt_ids, content.seconds)
    for position, utt_id, seconds in zip(*columns, strict=True):
        checked.names[position] = hash(utt_id)
        checked.seconds[position] = account.seconds.get(utt_id, seconds)
        checked.speech_seconds[position] = account.speech_seconds.get(utt_id, np.nan)
        if utt_id in failed:
            checked.failures[position] = failed[utt_id]
            continue
        path = storage.path(utt_id)
        checked.outputs[position] = hash(str(path))
        checked.folders.add(path.parent)
        _wait_for(path, checked.latest)
        try:
            storage.check(utt_id)
        except Exception as error:  # a damaged file may make a reader raise anything
            checked.problems.append(f"{split}: {utt_id}: {path}: {first_line(error)}")
            storage.discard(utt_id)
            marker.unlink(missing_ok=True)


def _exclude(path: Path, manifest: Manifest, limits: Limits, checked: _Checked) -> None:
    """Mark the utterances that are in no shard, and embedded ones that are beyond the limits."""
    is_embedded = checked.shards >= 0
    is_embedded[list(checked.failures)] = False
    checked.is_excluded = is_embedded & limits.exclude(checked.seconds)
    content = read_index_shard(path)
    if max(content.positions, default=-1) >= len(checked.shards):
        raise _changed(manifest.path)
    checked.is_excluded[content.positions] = True
    checked.seconds[content.positions] = content.seconds
    checked.names[content.positions] = [hash(utt_id) for utt_id in content.utt_ids]


def _excluded_rows(manifest: Manifest, checked: _Checked) -> Iterator[ExcludedRow]:
    """Yield the excluded utterances, in manifest order."""
    positions = np.flatnonzero(checked.is_excluded)
    for position, utterance in zip(positions, manifest.utterances.at(positions), strict=True):
        yield ExcludedRow(utterance.utt_id, utterance.wav_path, float(checked.seconds[position]))


def _wait_for(path: Path, latest: float) -> None:
    """Wait until a file is visible, at most until `latest` of ``time.monotonic``."""
    while not path.exists() and time.monotonic() < latest:
        # Opening a folder makes network file systems ask the server again.
        with suppress(FileNotFoundError):
            os.scandir(path.parent).close()
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _rows(
    settings: Settings, split: str, shards: list[str], manifest: Manifest, checked: _Checked
) -> Iterator[IndexRow]:
    """Yield the embedded utterances, in manifest order.

    Raises:
        ShardError: The shards do not hold the manifest's utterances.

    """
    storages = [storage_of(settings, split, shard) for shard in shards]
    for position, utterance in enumerate(manifest.utterances):
        number, is_excluded = checked.shards[position], checked.is_excluded[position]
        is_known = number >= 0 or is_excluded
        if not is_known or checked.names[position] != hash(utterance.utt_id):
            raise _changed(manifest.path)
        if position not in checked.failures and not is_excluded:
            path = str(storages[number].path(utterance.utt_id))
            seconds = float(checked.seconds[position])
            speech = float(checked.speech_seconds[position])
            yield IndexRow(
                utterance.utt_id,
                utterance.speaker_id,
                path,
                seconds,
                None if np.isnan(speech) else speech,
            )


def _changed(manifest: Path) -> ShardError:
    return ShardError(f"{manifest}: changed during the run. Rerun the same command")


def _discard_strays(folder: Path, outputs: NDArray[np.int64], provenance: dict[str, Any]) -> None:
    """Remove another encoder's embeddings of utterances that left the manifest.

    Those of the same encoder, with this provenance, are kept, because the utterances may return.
    `outputs` are hashes of the paths to keep.
    """
    for path in _unlisted_files(folder, np.sort(outputs)):
        found = parse_provenance(read_provenance(path))
        if found and not provenance.items() <= found.items():
            discard(path)


def _unlisted_files(folder: Path, known: NDArray[np.int64]) -> Iterator[Path]:
    """Yield a folder's ``.pt`` files whose path's hash is not in `known`, which ascends."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        files = (entry.path for entry in entries if entry.name.endswith(".pt"))
        while some := list(islice(files, NAMES_AT_A_TIME)):
            hashes = np.fromiter(map(hash, some), np.int64, len(some))
            places = np.searchsorted(known, hashes).clip(max=len(known) - 1)
            for i in np.flatnonzero(known[places] != hashes):
                yield Path(some[i])


def _discard_packs(folder: Path, shards: Sequence[str], provenance: dict[str, Any]) -> None:
    """Remove packs of other shards or another encoder, and all journals."""
    for path, shard in packs.list_packs(folder).items():
        found, _ = packs.describe(path)
        if shard not in shards or not provenance.items() <= parse_provenance(found).items():
            path.unlink(missing_ok=True)
    for path in journal.list_journals(folder):
        path.unlink(missing_ok=True)
