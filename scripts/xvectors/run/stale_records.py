"""Stale records: descriptions in an output folder that are no longer true.

Snakemake itself notices changed inputs and parameters of a rule if it has its metadata.
It does not watch the millions of audio files and embeddings. So the description of the encoder, the
plans and the done-markers are compared with the current files, and Snakemake is told which of them
to make again. Nothing is written or removed here.
"""

import logging
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xvectors.audio.versions import audio_version
from xvectors.config.layout import Layout, shard_names
from xvectors.config.settings import Settings
from xvectors.encoders.fetching import describes, read_fingerprint
from xvectors.encoders.identity import collect_numerics
from xvectors.errors import EncoderError, ManifestError, ShardError
from xvectors.manifest.reading import hash_manifest, locate_audio, read_manifest_once
from xvectors.results.stale_results import stale_results
from xvectors.sharding.index_shards import (
    IndexShard,
    Plan,
    hash_audio,
    hash_members,
    read_index_shard,
    read_plan,
)
from xvectors.sharding.limits import Limits
from xvectors.sharding.markers import read_marker
from xvectors.sharding.splitting import (
    EarlierShards,
    TooManyHeadersError,
    divide,
    has_new_durations,
)
from xvectors.tasks.outputs import storage_of

logger = logging.getLogger(__name__)

# Audio files that are opened at most to tell in advance how a split will be divided.
MAX_HEADERS = 2000


@dataclass(frozen=True)
class SplitRecords:
    """Facts about a split before its jobs run.

    Attributes:
        n_shards: The number of its shards, None if only splitting the manifest will tell.
        stale: The records that are to be made again: the plan and done-markers.

    """

    n_shards: int | None
    stale: frozenset[Path]


class Records:
    """The records in an output folder, each read on first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._layout = Layout.of(settings)
        self._splits: dict[str, SplitRecords] = {}
        # Jobs ask thousands of times what is new.
        self._has_news = True
        self._told: set[Path] = set()
        self._n_undone: dict[str, int] = {}
        # The plan files, by split.
        self._versions: dict[str, object] = {}

    @cached_property
    def stale_encoder(self) -> frozenset[Path]:
        """The description of the encoder's copy, if it is stale."""
        model = self._settings.xvector.pretrained_model
        path = self._layout.encoder_description
        return frozenset() if describes(path, model) else frozenset({path})

    @cached_property
    def stale_results(self) -> frozenset[Path]:
        """Tables and exports that no longer match the files beside them."""
        xvector = self._settings.xvector
        labelled = xvector.manifest_paths if xvector.labels else {}
        found = stale_results(self._layout, xvector.splits, xvector.exports, labelled)
        return frozenset(found)

    def split(self, split: str) -> SplitRecords:
        """Return a split's records as they were when this run last read them."""
        if split not in self._splits:
            self._read(split)
        return self._splits[split]

    def split_again(self, split: str) -> SplitRecords:
        """Return a split's records, read again if its manifest was split meanwhile."""
        if self._versions.get(split) != _version(self._layout.plan(split)):
            self._read(split)
        return self.split(split)

    def _read(self, split: str) -> None:
        self._versions[split] = _version(self._layout.plan(split))
        self._splits[split] = _SplitReader(self._settings, split).read()
        self._n_undone.pop(split, None)
        self._has_news = True

    def n_shards_to_run(self) -> int | None:
        """Return how many shards of all splits are not done, None if it is not known yet.

        Those of a split are counted once each time its records are read.
        """
        counts = [self._count_undone(split) for split in self._settings.xvector.splits]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def _count_undone(self, split: str) -> int | None:
        records = self.split(split)
        if records.n_shards is None:
            return None
        if split not in self._n_undone:
            markers = (self._layout.marker(split, name) for name in shard_names(records.n_shards))
            self._n_undone[split] = sum(one in records.stale or not one.exists() for one in markers)
        return self._n_undone[split]

    @property
    def stale(self) -> frozenset[Path]:
        """All stale records that have been found by now."""
        # A copy, because the progress line asks while the run reads more splits.
        splits = list(self._splits.values())
        return self.stale_encoder.union(self.stale_results, *(records.stale for records in splits))

    def is_stale(self, split: str, shard: str) -> bool:
        """Tell whether the done-marker of a shard is stale."""
        return self._layout.marker(split, shard) in self.split(split).stale

    def newly_stale(self) -> frozenset[Path]:
        """Return the stale records that this has not returned before."""
        if not self._has_news:
            return frozenset()
        self._has_news = False
        found = self.stale - self._told
        self._told |= found
        return found

    def stale_by_now(self) -> frozenset[Path]:
        """Return what `stale` would be if this run read the records now for the first time."""
        again = Records(self._settings)
        for split in self._splits:
            again.split(split)
        return again.stale


def number_of_shards(settings: Settings, split: str) -> int | None:
    """Return the number of a split's shards: the given one, or else that of its plan, if any."""
    given = settings.xvector.given_shards(split)
    if given is not None:
        return given
    plan = read_plan(Layout.of(settings).plan(split))
    return None if plan is None else plan.n_shards


def redate_future_files(layout: Layout, splits: Iterable[str]) -> None:
    """Set the time of files that are dated in the future to now, except embeddings.

    A wrong clock has made them. Snakemake would take files that are made from them for outdated,
    and their job for failed.
    """
    now = time.time_ns()
    folders = {layout.root, layout.encoder_folder}
    for split in splits:
        folders |= {layout.plan(split).parent, layout.shards(split)}
    for folder in filter(Path.is_dir, folders):
        for path in folder.iterdir():
            # A job of a run that was killed may be about to rename its temporary file.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime_ns > now:
                    os.utime(path, ns=(now, now))


def _version(path: Path) -> object:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class _SplitReader:
    """Reads the records of a split and finds the stale ones."""

    def __init__(self, settings: Settings, split: str) -> None:
        self._settings = settings
        self._split = split
        self._layout = Layout.of(settings)
        self._plan = self._layout.plan(split)
        self._manifest = Path(settings.xvector.manifest_paths[split])
        self._given = settings.xvector.given_shards(split)
        self._limits = Limits.of(settings)
        self._numerics = collect_numerics(settings)

    def read(self) -> SplitRecords:
        plan = read_plan(self._plan)
        stale = None
        if plan is not None and self._given in (None, plan.n_shards):
            stale = self._stale_markers_of(plan)
        if plan is not None and stale is not None:
            records = SplitRecords(plan.n_shards, frozenset(stale))
        else:
            n_shards, markers = self._preview()
            records = SplitRecords(n_shards, frozenset({self._plan, *markers}))
        n_stale = sum(path.exists() for path in records.stale - {self._plan})
        if n_stale:
            logger.warning("%s: outdated shards that run again: %d", self._split, n_stale)
        return records

    def _stale_markers_of(self, plan: Plan) -> list[Path] | None:
        """Return the stale done-markers, None if the manifest must be split again."""
        if not self._is_current(plan):
            return None
        stale = []
        for name in shard_names(plan.n_shards):
            try:
                shard = read_index_shard(self._layout.index_shard(self._split, name))
            except ShardError:
                return None
            if self._has_new_audio(shard) or has_new_durations(self._manifest, shard):
                return None
            if self._is_stale(name, shard):
                stale.append(self._marker(name))
        return stale

    def _is_current(self, plan: Plan) -> bool:
        """Tell whether a plan is of this manifest and these limits, and excludes the same audio."""
        # This run may have to make the manifest from its corpus again first.
        if not self._manifest.exists() or plan.manifest != hash_manifest(self._manifest):
            return False
        if self._limits != (plan.min_seconds, plan.max_seconds):
            return False
        if not self._limits:
            return True
        try:
            return not self._has_new_audio(
                read_index_shard(self._layout.excluded_shard(self._split))
            )
        except ShardError:
            return False

    def _preview(self) -> tuple[int | None, list[Path]]:
        """Return how many shards there will be, None if unknown, and which markers are stale."""
        given = self._given
        earlier = EarlierShards(self._manifest, self._layout.shards(self._split))
        if given is not None and not earlier:
            return given, []
        # Of a corpus that was split before, most durations are known.
        max_headers = sys.maxsize if earlier and given is None else MAX_HEADERS
        try:
            manifest = read_manifest_once(self._manifest)
            division = divide(manifest, given, earlier, self._limits, max_headers)
        except (ManifestError, TooManyHeadersError):
            # The manifest does not exist yet, or reading headers takes too long: every shard runs
            # again.
            return given, list(map(self._marker, shard_names(given or 0)))
        stale = (name for name, shard in division.shards if self._is_stale(name, shard))
        return division.plan.n_shards, list(map(self._marker, stale))

    def _marker(self, name: str) -> Path:
        return self._layout.marker(self._split, name)

    def _has_new_audio(self, shard: IndexShard) -> bool:
        return shard.audio != hash_audio(self._manifest, shard.wav_paths)

    def _is_stale(self, name: str, shard: IndexShard) -> bool:
        return self._marker(name).exists() and not self._is_done(name, shard)

    def _is_done(self, name: str, shard: IndexShard) -> bool:
        """Tell whether everything that a done-marker states is still true."""
        encoder = self._layout.encoder_description
        xvector = self._settings.xvector
        try:
            marker = read_marker(self._marker(name))
            fingerprint = read_fingerprint(encoder) if encoder.exists() else marker.encoder
        except (ShardError, EncoderError):
            return False
        made = (marker.encoder, marker.numerics, marker.storage)
        if made != (fingerprint, self._numerics, xvector.storage):
            return False
        if marker.members != hash_members(shard):
            return False
        if marker.failures and xvector.on_error == "fail":
            return False
        for failure in marker.failures:
            if audio_version(locate_audio(self._manifest, failure.wav_path)) != failure.audio:
                return False
        failed = {failure.utt_id for failure in marker.failures}
        embedded = (utt_id for utt_id in shard.utt_ids if utt_id not in failed)
        outputs = storage_of(self._settings, self._split, name).version(embedded)
        return outputs is not None and outputs == marker.outputs
