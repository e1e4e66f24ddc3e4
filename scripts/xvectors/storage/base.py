"""Storage: how the embeddings of a shard are kept, a file each or packed into one."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


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
    def is_current(self, utt_id: str, provenance: bytes) -> bool:
        """Tell whether an embedding is there, and was made by this."""

    @abstractmethod
    def discard_stale(self, utt_id: str, provenance: bytes, is_audio_gone: bool) -> None:
        """Remove an embedding that was not made by this.

        While the audio is gone, nothing can replace it: it stays, if it was made in the same way.
        """

    @abstractmethod
    def reload(self) -> None:
        """See what processes that were forked have saved since."""

    @abstractmethod
    def save(self, utt_id: str, embedding: "torch.Tensor", provenance: bytes) -> None:
        """Keep an embedding, shape (dim,), and what made it, whole or not at all."""

    @abstractmethod
    def accept(self, utt_id: str, provenance: bytes) -> str | None:
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
