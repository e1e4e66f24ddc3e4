"""Storage with one file for all embeddings of a shard."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xvectors.storage import journal, packs
from xvectors.storage.base import Found, Storage, hash_versions
from xvectors.storage.journal import Journal, read_journal
from xvectors.storage.packs import Pack, Row, read_pack
from xvectors.storage.provenance import Provenance, ProvenanceDigest, Standing, compare

if TYPE_CHECKING:
    import torch

NO_PROVENANCE = ProvenanceDigest(bytes(8), bytes(8))


class PackedStorage(Storage):
    """A pack for all embeddings of a shard, and journals until it is written.

    While the shard has no pack, embeddings are taken from the packs and journals of another
    number of shards.
    """

    is_remembered = True

    def __init__(self, folder: Path, shard: str, utt_ids: Iterable[str] = ()) -> None:
        """Take the folder of a split's packs, and the name of a shard with its utterances.

        Without the utterances, only `path`, `check` and `version` work.
        """
        self.folder = folder
        self.shard = shard
        self.pack = folder / f"{shard}{packs.PACK_SUFFIX}"
        self._utt_ids = utt_ids
        self._seen: set[Path] = set()
        self._journal = Journal(folder, shard)
        self._is_changed = False

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        """The rows of each utterance, of any provenance."""
        rows: dict[str, list[Row]] = {utt_id: [] for utt_id in self._utt_ids}
        if not rows:
            return rows
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

    def find(self, utt_id: str, wanted: Provenance) -> Found:
        """Compare the rows of the utterance, and return the best."""
        digest = wanted.digest()
        rows = self._rows[utt_id]
        if not rows:
            return Found(Standing.MISSING)
        best = max(rows, key=lambda row: compare(row.provenance, digest))
        contents = frozenset(row.provenance.content for row in rows)
        return Found(compare(best.provenance, digest), contents, best.provenance.decoded)

    def choose(self, utt_id: str, wanted: Provenance) -> None:
        """Drop the rows of the utterance that are not current."""
        version = wanted.digest().version
        current = [row for row in self._rows[utt_id] if row.provenance.version == version]
        self._rows[utt_id] = current[:1]

    def update_provenance(self, utt_id: str, provenance: Provenance) -> None:
        """Keep the row of the same content, with another provenance in the next pack."""
        digest = provenance.digest()
        same = [
            row._replace(provenance=digest._replace(decoded=row.provenance.decoded))
            for row in self._rows[utt_id]
            if (row.provenance.how, row.provenance.content) == (digest.how, digest.content)
        ]
        self._rows[utt_id] = same[:1]
        self._is_changed = True

    def reload(self) -> None:
        """Add the rows of new journals."""
        for path, shard in journal.list_journals(self.folder).items():
            if shard == self.shard and path not in self._seen:
                self._rows.update((utt_id, [row]) for utt_id, row in read_journal(path))

    def save(
        self, utt_id: str, embedding: "torch.Tensor", provenance: Provenance | None = None
    ) -> None:
        """Append to the journal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        vector = np.asarray(embedding.detach().float().cpu().numpy())
        digest = provenance.digest() if provenance else NO_PROVENANCE
        self._rows[utt_id] = [self._journal.append(utt_id, vector, digest)]

    def verify_and_stamp(self, utt_id: str, provenance: Provenance) -> str | None:
        """Check that there is a row."""
        return None if self._rows[utt_id] else "the runner left no embedding"

    def finish(self, utt_ids: Iterable[str], metadata: Mapping[str, str]) -> None:
        """Write the pack if anything changed, and remove the shard's journals."""
        self.close()
        rows = {utt_id: self._rows[utt_id][0] for utt_id in utt_ids if self._rows[utt_id]}
        is_packed = all(row.source == self.pack for row in rows.values()) and not self._is_changed
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
        """Forget the rows of the utterance. They leave the file with the next pack."""
        self._rows[utt_id] = []

    def version(self, utt_ids: Iterable[str]) -> str | None:
        """Return a hash of the pack's version."""
        return hash_versions([self.pack])
