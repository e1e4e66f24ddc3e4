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
from xvectors.manifest.reading import read_manifest
from xvectors.results.tables import (
    EmbeddedRow,
    ExcludedRow,
    FailureRow,
    write_embedded,
    write_excluded,
    write_failures,
)
from xvectors.sharding.collected import write_collected
from xvectors.sharding.index_shards import IndexShard, read_index_shard
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


class _Collection:
    """Outcome of each utterance of a split by its position in the manifest, 37 bytes each.

    Attributes:
        outputs: Hashes of the paths of the embeddings.
        failures: Failed utterances by position.
        folders: Folders of the embeddings.
        problems: A line for each missing or damaged embedding.

    """

    def __init__(self, settings: Settings, split: str, shards: list[str]) -> None:
        self._settings = settings
        self._split = split
        self._shards = shards
        self._layout = Layout.of(settings)
        self._manifest = read_manifest(Path(settings.xvector.manifest_paths[split]))
        n_utterances = len(self._manifest.utterances)
        # The number of the utterance's shard, -1 for none.
        self._numbers = np.full(n_utterances, -1, dtype=np.int32)
        # Hashes of the utt_ids.
        self._names = np.zeros(n_utterances, dtype=np.int64)
        self._seconds = np.zeros(n_utterances)
        # NaN where they are not known.
        self._speech_seconds = np.full(n_utterances, np.nan)
        self._is_excluded = np.zeros(n_utterances, dtype=bool)
        self._latest = time.monotonic() + LATE_SECONDS
        self.outputs = np.zeros(n_utterances, dtype=np.int64)
        self.failures: dict[int, Failure] = {}
        self.folders: set[Path] = set()
        self.problems: list[str] = []

    def check(self) -> None:
        """Check the embeddings of all shards, except those of failed utterances."""
        for number, shard in enumerate(self._shards):
            self._check_shard(number, shard)

    def _check_shard(self, number: int, shard: str) -> None:
        content = self._read(self._layout.index_shard(self._split, shard))
        marker = self._layout.marker(self._split, shard)
        account = read_marker(marker)
        failed = {failure.utt_id: failure for failure in account.failures}
        self._numbers[content.positions] = number
        storage = storage_of(self._settings, self._split, shard)
        columns = (content.positions, content.utt_ids, content.seconds)
        for position, utt_id, seconds in zip(*columns, strict=True):
            self._names[position] = hash(utt_id)
            self._seconds[position] = account.seconds.get(utt_id, seconds)
            self._speech_seconds[position] = account.speech_seconds.get(utt_id, np.nan)
            if utt_id in failed:
                self.failures[position] = failed[utt_id]
                continue
            path = storage.path(utt_id)
            self.outputs[position] = hash(str(path))
            self.folders.add(path.parent)
            _wait_for(path, self._latest)
            try:
                storage.check(utt_id)
            except Exception as error:  # a damaged file may make a reader raise anything
                self.problems.append(f"{self._split}: {utt_id}: {path}: {first_line(error)}")
                storage.discard(utt_id)
                marker.unlink(missing_ok=True)

    def exclude(self, limits: Limits) -> None:
        """Exclude the utterances that are in no shard, and embedded ones beyond the limits."""
        is_embedded = self._numbers >= 0
        is_embedded[list(self.failures)] = False
        self._is_excluded = is_embedded & limits.exclude(self._seconds)
        content = self._read(self._layout.excluded_shard(self._split))
        self._is_excluded[content.positions] = True
        self._seconds[content.positions] = content.seconds
        self._names[content.positions] = [hash(utt_id) for utt_id in content.utt_ids]

    def excluded_rows(self) -> Iterator[ExcludedRow]:
        """Yield the excluded utterances, in manifest order."""
        positions = np.flatnonzero(self._is_excluded)
        utterances = self._manifest.utterances.at(positions)
        for utterance, seconds in zip(utterances, self._seconds[positions], strict=True):
            yield ExcludedRow(utterance.utt_id, utterance.wav_path, float(seconds))

    def rows(self) -> Iterator[EmbeddedRow]:
        """Yield the embedded utterances, in manifest order.

        Raises:
            ShardError: The shards do not hold the manifest's utterances.

        """
        storages = [storage_of(self._settings, self._split, shard) for shard in self._shards]
        for position, utterance in enumerate(self._manifest.utterances):
            number, is_excluded = self._numbers[position], self._is_excluded[position]
            is_known = number >= 0 or is_excluded
            if not is_known or self._names[position] != hash(utterance.utt_id):
                raise self._changed()
            if position not in self.failures and not is_excluded:
                speech = float(self._speech_seconds[position])
                yield EmbeddedRow(
                    utterance.utt_id,
                    utterance.speaker_id,
                    str(storages[number].path(utterance.utt_id)),
                    float(self._seconds[position]),
                    None if np.isnan(speech) else speech,
                )

    def _read(self, path: Path) -> IndexShard:
        content = read_index_shard(path)
        if max(content.positions, default=-1) >= len(self._numbers):
            raise self._changed()
        return content

    def _changed(self) -> ShardError:
        path = self._manifest.path
        return ShardError(f"{path}: changed during the run. Rerun the same command")


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
    layout, limits = Layout.of(settings), Limits.of(settings)
    collection = _Collection(settings, split, shards)
    collection.check()
    if limits:
        collection.exclude(limits)
    if collection.problems:
        again = f"{split}: rerun the same command to make these embeddings again"
        raise ShardError("\n".join([*collection.problems, again]))
    failures = (failure for _, failure in sorted(collection.failures.items()))
    reasons = (
        FailureRow(one.utt_id, one.wav_path, " ".join(one.reason.split())) for one in failures
    )
    write_failures(layout.failures(split), reasons)
    if limits:
        write_excluded(layout.excluded(split), collection.excluded_rows())
    else:
        layout.excluded(split).unlink(missing_ok=True)
    with_speech = settings.xvector.vad is not None
    write_embedded(layout.table(split), collection.rows(), with_speech)
    write_collected(layout, split, shards)
    marker = read_marker(layout.marker(split, shards[0]))
    provenance = marker.numerics | {"encoder": marker.encoder}
    folder = layout.embeddings(split)
    _discard_strays(folder, collection.outputs, provenance)
    _discard_packs(folder, shards, provenance)
    for place in {layout.shards(split), *collection.folders}:
        remove_leftovers(place)
    tables = (layout.table(split), layout.failures(split), layout.excluded(split))
    for path in (layout.plan(split), *tables):
        remove_leftovers(path.parent, path.name)


def _wait_for(path: Path, latest: float) -> None:
    """Wait until a file is visible, at most until `latest` of ``time.monotonic``."""
    while not path.exists() and time.monotonic() < latest:
        # Opening a folder makes network file systems ask the server again.
        with suppress(FileNotFoundError):
            os.scandir(path.parent).close()
        time.sleep(SECONDS_BETWEEN_LOOKS)


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
