"""The interface of storage: one file per embedding, or one pack per shard."""
# ruff: noqa: B027 - methods for which files have nothing to do

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from xvectors.audio.signal import Decoded
from xvectors.storage.provenance import Provenance, Standing

if TYPE_CHECKING:
    import torch


class Found(NamedTuple):
    """A stored embedding.

    Attributes:
        standing: Its relation to what would be made today.
        contents: The hashes of the audio that it may have been made of.
        decoded: Facts about that audio, None where they are not known.

    """

    standing: Standing
    contents: frozenset[bytes] = frozenset()
    decoded: Decoded | None = None


class Storage(ABC):
    """The embeddings of a shard, each with its provenance.

    Attributes:
        is_remembered: Whether the stored embeddings are listed in this process's memory, so that a
            forked process has a copy of the list.

    """

    is_remembered = False

    @abstractmethod
    def path(self, utt_id: str) -> Path:
        """Return the file that holds an utterance's embedding."""

    @abstractmethod
    def find(self, utt_id: str, wanted: Provenance) -> Found:
        """Look for an embedding, and compare its provenance. Change nothing."""

    def choose(self, utt_id: str, wanted: Provenance) -> None:
        """Keep only the current embedding, if there are several."""

    @abstractmethod
    def update_provenance(self, utt_id: str, provenance: Provenance) -> None:
        """Replace the provenance of an embedding of the same audio content.

        Its facts about the decoded audio are kept.
        """

    def reload(self) -> None:
        """List the embeddings that forked processes have saved."""

    @abstractmethod
    def save(
        self, utt_id: str, embedding: "torch.Tensor", provenance: Provenance | None = None
    ) -> None:
        """Store an embedding, shape (dim,), and its provenance, whole or not at all."""

    @abstractmethod
    def verify_and_stamp(self, utt_id: str, provenance: Provenance) -> str | None:
        """Check the output that a runner has left, and give it this provenance if it has none.

        Returns:
            The reason why it is not sound, or None.

        """

    def finish(self, utt_ids: Iterable[str], metadata: Mapping[str, str]) -> None:
        """Bring the embeddings of a shard, in this order, into their final form."""

    def close(self) -> None:
        """Close all files."""

    @abstractmethod
    def check(self, utt_id: str) -> None:
        """Raise an exception of any kind unless a sound embedding of the utterance is there."""

    @abstractmethod
    def discard(self, utt_id: str) -> None:
        """Remove an embedding that is stale or not sound."""

    @abstractmethod
    def version(self, utt_ids: Iterable[str]) -> str | None:
        """Return a hash of the embeddings' versions, None if one is missing. Read none of them."""


def hash_versions(paths: Iterable[Path]) -> str | None:
    """Return a hash of files' sizes and times, None if one of them is missing.

    Versions are compared for equality, never by age: clocks differ between machines, and jump.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 - a fifth of the cost of Path.stat
        except OSError:
            return None
        digest.update(b"%d %d\n" % (status.st_size, status.st_mtime_ns))
    return digest.hexdigest()
