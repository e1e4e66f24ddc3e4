"""A file for each embedding."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xvectors.errors import first_line
from xvectors.files.atomic import hash_versions
from xvectors.storage import pt_file
from xvectors.storage.base import Storage
from xvectors.storage.provenance import is_same_but_audio

if TYPE_CHECKING:
    import torch

EMBEDDING_SUFFIX = ".pt"


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

    def is_current(self, utt_id: str, provenance: bytes) -> bool:
        """Tell whether the file is there and has this provenance.

        A file of another kind than `.pt` is checked too, as its provenance may stand beside it.
        """
        path = self.path(utt_id)
        if pt_file.read_provenance(path) != provenance:
            return False
        if path.suffix == EMBEDDING_SUFFIX or not pt_file.stands_beside(path):
            return True
        try:
            self.check(utt_id)
        except Exception:  # a damaged file may make a reader raise anything
            return False
        return True

    def discard_stale(self, utt_id: str, provenance: bytes, is_audio_gone: bool) -> None:
        """Remove a file that is not current, unless only its audio is gone."""
        if self.is_current(utt_id, provenance):
            return
        earlier = pt_file.read_provenance(self.path(utt_id))
        if not (is_audio_gone and is_same_but_audio(earlier, provenance)):
            self.discard(utt_id)

    def reload(self) -> None:
        """Do nothing: files tell."""

    def save(self, utt_id: str, embedding: "torch.Tensor", provenance: bytes) -> None:
        """Write a file."""
        path = self.path(utt_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        pt_file.save_embedding(embedding, path, provenance)

    def accept(self, utt_id: str, provenance: bytes) -> str | None:
        """Check and stamp a file that a runner has left without a provenance."""
        path = self.path(utt_id)
        if pt_file.read_provenance(path) is not None:
            return None
        if not path.is_file():
            return f"the runner left no file {path}"
        try:
            self.check(utt_id)
        except Exception as error:  # a damaged file may make a reader raise anything
            return f"{path}: {first_line(error)}"
        pt_file.stamp(path, provenance)
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
        pt_file.discard(self.path(utt_id))

    def version(self, utt_ids: Iterable[str]) -> str | None:
        """Return a hash of the files' versions."""
        return hash_versions(self.path(utt_id) for utt_id in utt_ids)
