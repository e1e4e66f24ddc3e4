"""Storage: how the embeddings of a shard are kept, a file each or packed into one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xvectors import provenance
from xvectors.errors import first_line
from xvectors.files import hash_versions
from xvectors.storage import packs
from xvectors.storage.packs import Journal, Pack, Row, read_journal, read_pack

if TYPE_CHECKING:
    import torch

EMBEDDING_SUFFIX = ".pt"


class Storage(ABC):
    """Where the embeddings of a shard are, what made each of them, and whether they are sound.

    Attributes:
        is_remembered: Whether what there is stands in this process' memory, so that one that is
            forked has a copy of it.

    """

    is_remembered = False

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
    def see_others(self) -> None:
        """See what processes that were forked have saved since."""

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
        """Tell whether the file is there and has this provenance.

        A file of another kind than `.pt` is checked too, as its provenance may stand beside it.
        """
        path = self.path(utt_id)
        if provenance.read_provenance(path) != made_by:
            return False
        if path.suffix == EMBEDDING_SUFFIX or not provenance.stands_beside(path):
            return True
        try:
            self.check(utt_id)
        except Exception:  # a damaged file may make a reader raise anything
            return False
        return True

    def discard_stale(self, utt_id: str, made_by: bytes, is_audio_gone: bool) -> None:
        """Remove a file that is not current, unless only its audio is gone."""
        if self.is_current(utt_id, made_by):
            return
        earlier = provenance.read_provenance(self.path(utt_id))
        if not (is_audio_gone and provenance.is_same_but_audio(earlier, made_by)):
            self.discard(utt_id)

    def see_others(self) -> None:
        """Do nothing: files tell."""

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
        for path, shard in packs.list_journals(self.folder).items():
            self._seen.add(path)
            if shard == self.shard or (is_first and shard.partition("-of-")[2] != n_shards):
                yield path, read_journal

    @cached_property
    def _packed(self) -> Pack:
        return Pack(self.pack)

    def path(self, utt_id: str) -> Path:
        """Return the pack."""
        return self.pack

    def is_current(self, utt_id: str, made_by: bytes) -> bool:
        """Tell whether there is a row of this origin; from then on it is the only one."""
        origin = packs.origin_of(made_by)
        current = [row for row in self._rows[utt_id] if row.origin == origin][:1]
        self._rows[utt_id] = current or self._rows[utt_id]
        return bool(current)

    def see_others(self) -> None:
        """Take the rows of journals that are new."""
        for path, shard in packs.list_journals(self.folder).items():
            if shard == self.shard and path not in self._seen:
                self._rows.update((utt_id, [row]) for utt_id, row in read_journal(path))

    def discard_stale(self, utt_id: str, made_by: bytes, is_audio_gone: bool) -> None:
        """Forget rows of another origin, unless only their audio is gone."""
        if self.is_current(utt_id, made_by):
            return
        origin = packs.origin_of(made_by)
        self._rows[utt_id] = [
            row
            for row in self._rows[utt_id]
            if is_audio_gone and packs.is_same_but_audio(row.origin, origin)
        ]

    def save(self, utt_id: str, embedding: "torch.Tensor", made_by: bytes) -> None:
        """Append to the journal."""
        self.folder.mkdir(parents=True, exist_ok=True)
        vector = np.asarray(embedding.detach().float().cpu().numpy())
        row = self._journal.append(utt_id, vector, packs.origin_of(made_by))
        self._rows[utt_id] = [row]

    def accept(self, utt_id: str, made_by: bytes) -> str | None:
        """Look whether there is a row."""
        return None if self._rows[utt_id] else "the runner left no embedding"

    def finish(self, utt_ids: Iterable[str], metadata: Mapping[str, str]) -> None:
        """Write the pack, unless it is as it should be, and remove the shard's journals."""
        self.close()
        rows = {utt_id: self._rows[utt_id][0] for utt_id in utt_ids if self._rows[utt_id]}
        is_packed = all(row.source == self.pack for row in rows.values())
        wanted = (metadata["made_by"].encode(), list(rows))
        if not is_packed or packs.describe(self.pack) != wanted:
            self.folder.mkdir(parents=True, exist_ok=True)
            packs.write_pack(self.pack, rows, metadata)
        for path, shard in packs.list_journals(self.folder).items():
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
