"""A file for all embeddings of a shard."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xvectors.files.atomic import hash_versions
from xvectors.storage import journal, packs
from xvectors.storage.base import Storage
from xvectors.storage.journal import Journal, read_journal
from xvectors.storage.packs import Pack, Row, read_pack

if TYPE_CHECKING:
    import torch


class PackedStorage(Storage):
    """A pack for all embeddings of a shard, and journals until it is written.

    While there is no pack of the shard, embeddings are taken from the packs and the journals
    that another number of shards has left.
    """

    is_remembered = True

    def __init__(self, folder: Path, shard: str, utt_ids: Iterable[str] = ()) -> None:
        """Take the folder of a split's packs and the name of a shard.

        Args:
            folder: Where packs and journals are.
            shard: Name of the shard.
            utt_ids: Its utterances, for whoever asks which are current.

        """
        self.folder = folder
        self.shard = shard
        self.pack = folder / f"{shard}{packs.PACK_SUFFIX}"
        self._utt_ids = utt_ids
        self._seen: set[Path] = set()
        self._journal = Journal(folder, shard)

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        """What there is of each utterance; of several origins, as nobody knows which will do."""
        rows: dict[str, list[Row]] = {utt_id: [] for utt_id in self._utt_ids}
        for path, read in self._sources():
            for utt_id, row in read(path):
                if utt_id in rows:
                    rows[utt_id].append(row)
        return rows

    def _sources(self) -> Iterator[tuple[Path, Callable[[Path], Iterator[tuple[str, Row]]]]]:
        yield self.pack, read_pack
        n_shards = self.shard.partition("-of-")[2]
        found = packs.list_packs(self.folder)
        is_first = self.pack not in found
        for path, shard in found.items():
            if is_first and shard.partition("-of-")[2] != n_shards:
                yield path, read_pack
        for path, shard in journal.list_journals(self.folder).items():
            self._seen.add(path)
            if shard == self.shard or (is_first and shard.partition("-of-")[2] != n_shards):
                yield path, read_journal

    @cached_property
    def _packed(self) -> Pack:
        return Pack(self.pack)

    def path(self, utt_id: str) -> Path:
        """Return the pack."""
        return self.pack

    def is_current(self, utt_id: str, provenance: bytes) -> bool:
        """Tell whether there is a row of this origin; from then on it is the only one."""
        origin = packs.origin_of(provenance)
        current = [row for row in self._rows[utt_id] if row.origin == origin][:1]
        self._rows[utt_id] = current or self._rows[utt_id]
        return bool(current)

    def reload(self) -> None:
        """Take the rows of journals that are new."""
        for path, shard in journal.list_journals(self.folder).items():
            if shard == self.shard and path not in self._seen:
                self._rows.update((utt_id, [row]) for utt_id, row in read_journal(path))

    def discard_stale(self, utt_id: str, provenance: bytes, is_audio_gone: bool) -> None:
        """Forget rows of another origin, unless only their audio is gone."""
        if self.is_current(utt_id, provenance):
            return
        origin = packs.origin_of(provenance)
        self._rows[utt_id] = [
            row
            for row in self._rows[utt_id]
            if is_audio_gone and packs.is_same_but_audio(row.origin, origin)
        ]

    def save(self, utt_id: str, embedding: "torch.Tensor", provenance: bytes) -> None:
        """Append to the journal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        vector = np.asarray(embedding.detach().float().cpu().numpy())
        row = self._journal.append(utt_id, vector, packs.origin_of(provenance))
        self._rows[utt_id] = [row]

    def accept(self, utt_id: str, provenance: bytes) -> str | None:
        """Look whether there is a row."""
        return None if self._rows[utt_id] else "the runner left no embedding"

    def finish(self, utt_ids: Iterable[str], metadata: Mapping[str, str]) -> None:
        """Write the pack, unless it is as it should be, and remove the shard's journals."""
        self.close()
        rows = {utt_id: self._rows[utt_id][0] for utt_id in utt_ids if self._rows[utt_id]}
        is_packed = all(row.source == self.pack for row in rows.values())
        wanted = (metadata["provenance"].encode(), list(rows))
        if not is_packed or packs.describe(self.pack) != wanted:
            self.folder.mkdir(parents=True, exist_ok=True)
            packs.write_pack(self.pack, rows, metadata)
        for path, shard in journal.list_journals(self.folder).items():
            if shard == self.shard:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def check(self, utt_id: str) -> None:
        """Read the row from the pack."""
        if not np.isfinite(self._packed[utt_id]).all():
            raise ValueError("holds NaN or infinite numbers")

    def discard(self, utt_id: str) -> None:
        """Do nothing: a row that is not sound counts as none."""

    def version(self, utt_ids: Iterable[str]) -> str | None:
        """Return a hash of the pack's version."""
        return hash_versions([self.pack])
