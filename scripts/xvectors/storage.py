"""Storage: how the embeddings of a shard are kept, a file each or packed into one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xvectors import packs, provenance
from xvectors.config import first_line
from xvectors.files import hash_versions
from xvectors.packs import Journal, Row, read_journal, read_pack

if TYPE_CHECKING:
    import torch


class Storage(ABC):
    """Where the embeddings of a shard are, what made each of them, and whether they are sound."""

    @abstractmethod
    def path(self, utt_id: str) -> Path:
        """Return the file that holds an utterance's embedding."""

    @abstractmethod
    def is_current(self, utt_id: str, made_by: bytes) -> bool:
        """Tell whether an embedding is there, and was made by this."""

    @abstractmethod
    def discard_stale(self, utt_id: str, made_by: bytes, is_audio_gone: bool) -> None:
        """Remove an embedding that was not made by this.

        While the audio is gone, nothing can replace it: it stays, if it was made in the same way.
        """

    @abstractmethod
    def save(self, utt_id: str, embedding: "torch.Tensor", made_by: bytes) -> None:
        """Keep an embedding, shape (dim,), and what made it, whole or not at all."""

    @abstractmethod
    def accept(self, utt_id: str, made_by: bytes) -> str | None:
        """Return what is wrong with what a runner has left for an utterance, None if nothing is.

        Whatever it has left without a provenance gets this one.
        """

    @abstractmethod
    def finish(self, utt_ids: Iterable[str], metadata: Mapping[str, str]) -> None:
        """Bring the embeddings of a shard, in this order, into the form in which they stay."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is open."""

    @abstractmethod
    def check(self, utt_id: str) -> None:
        """Raise an exception of any kind unless a sound embedding of the utterance is there."""

    @abstractmethod
    def discard(self, utt_id: str) -> None:
        """Remove an embedding that is not sound."""

    @abstractmethod
    def version(self, utt_ids: Iterable[str]) -> str | None:
        """Return a hash of the versions of embeddings, None if one is missing; reads none."""


class FileStorage(Storage):
    """A file for each embedding, wherever a runner leaves it."""

    def __init__(
        self,
        folder: Path,
        output_path: Callable[[Path, str], Path],
        check_output: Callable[[Path], Any],
    ) -> None:
        """Take the folder of a split's embeddings, and a runner's two methods."""
        self.folder = folder
        self.output_path = output_path
        self.check_output = check_output

    def path(self, utt_id: str) -> Path:
        """Return the file of an embedding."""
        return self.output_path(self.folder, utt_id)

    def is_current(self, utt_id: str, made_by: bytes) -> bool:
        """Tell whether the file is there and has this provenance."""
        return provenance.read_provenance(self.path(utt_id)) == made_by

    def discard_stale(self, utt_id: str, made_by: bytes, is_audio_gone: bool) -> None:
        """Remove a file with another provenance, unless only its audio is gone."""
        earlier = provenance.read_provenance(self.path(utt_id))
        if earlier == made_by:
            return
        if not (is_audio_gone and provenance.is_same_but_audio(earlier, made_by)):
            self.discard(utt_id)

    def save(self, utt_id: str, embedding: "torch.Tensor", made_by: bytes) -> None:
        """Write a file."""
        path = self.path(utt_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        provenance.save_embedding(embedding, path, made_by)

    def accept(self, utt_id: str, made_by: bytes) -> str | None:
        """Check and stamp a file that a runner has left without a provenance."""
        path = self.path(utt_id)
        if provenance.read_provenance(path) is not None:
            return None
        if not path.is_file():
            return f"the runner left no file {path}"
        try:
            self.check(utt_id)
        except Exception as error:  # a damaged file may make a reader raise anything
            return f"{path}: {first_line(error)}"
        provenance.stamp(path, made_by)
        return None

    def finish(self, utt_ids: Iterable[str], metadata: Mapping[str, str]) -> None:
        """Do nothing: files stay as they are."""

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def check(self, utt_id: str) -> None:
        """Do the runner's own check."""
        self.check_output(self.path(utt_id))

    def discard(self, utt_id: str) -> None:
        """Remove a file and its provenance."""
        provenance.discard(self.path(utt_id))

    def version(self, utt_ids: Iterable[str]) -> str | None:
        """Return a hash of the files' versions."""
        return hash_versions(self.path(utt_id) for utt_id in utt_ids)


class PackedStorage(Storage):
    """A pack for all embeddings of a shard, and journals until it is written.

    While there is no pack of the shard, embeddings are taken from the packs and the journals
    that another number of shards has left.
    """

    def __init__(self, folder: Path, shard: str) -> None:
        """Take the folder of a split's packs and the name of a shard."""
        self.folder = folder
        self.shard = shard
        self.pack = folder / f"{shard}{packs.PACK_SUFFIX}"
        self._found: dict[str, Row] | None = None
        self._packed: list[str] = []
        self._journal = Journal(folder, shard)

    @property
    def _rows(self) -> dict[str, Row]:
        """All embeddings that there are, read when they are asked for."""
        if self._found is None:
            self._found = self._find()
        return self._found

    def _find(self) -> dict[str, Row]:
        sources = [self.pack]
        journals = packs.journals(self.folder, self.shard)
        if not self.pack.exists():
            sources = list(packs.packs(self.folder).values())
            journals = packs.journals(self.folder)
        rows: dict[str, Row] = {}
        for path in sources:
            rows.update(read_pack(path))
        self._packed = [name for name, row in rows.items() if row.source == self.pack]
        for path in journals:
            rows.update(read_journal(path))
        return rows

    def path(self, utt_id: str) -> Path:
        """Return the pack."""
        return self.pack

    def is_current(self, utt_id: str, made_by: bytes) -> bool:
        """Tell whether there is a row of this origin."""
        row = self._rows.get(utt_id)
        return row is not None and row.origin == packs.origin_of(made_by)

    def discard_stale(self, utt_id: str, made_by: bytes, is_audio_gone: bool) -> None:
        """Forget a row of another origin, unless only its audio is gone."""
        row = self._rows.get(utt_id)
        origin = packs.origin_of(made_by)
        if row is None or row.origin == origin:
            return
        if not (is_audio_gone and packs.is_same_but_audio(row.origin, origin)):
            del self._rows[utt_id]

    def save(self, utt_id: str, embedding: "torch.Tensor", made_by: bytes) -> None:
        """Append to the journal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        vector = np.asarray(embedding.float().numpy())
        self._rows[utt_id] = self._journal.append(utt_id, vector, packs.origin_of(made_by))

    def accept(self, utt_id: str, made_by: bytes) -> str | None:
        """Look whether there is a row."""
        return None if utt_id in self._rows else "the runner left no embedding"

    def finish(self, utt_ids: Iterable[str], metadata: Mapping[str, str]) -> None:
        """Write the pack, unless it is as it should be, and remove the shard's journals."""
        self.close()
        rows = {utt_id: self._rows[utt_id] for utt_id in utt_ids if utt_id in self._rows}
        is_as_packed = all(row.source == self.pack for row in rows.values())
        if not is_as_packed or list(rows) != self._packed or not self.pack.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            packs.write_pack(self.pack, rows, metadata)
        for path in packs.journals(self.folder, self.shard):
            path.unlink()

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def check(self, utt_id: str) -> None:
        """Read the row from the pack."""
        row = self._rows.get(utt_id)
        if row is None or row.source != self.pack:
            raise ValueError("is not in it, or damaged")
        if not np.isfinite(row.read()).all():
            raise ValueError("holds NaN or infinite numbers")

    def discard(self, utt_id: str) -> None:
        """Do nothing: a row that is not sound counts as none."""

    def version(self, utt_ids: Iterable[str]) -> str | None:
        """Return a hash of the pack's version."""
        return hash_versions([self.pack])
