"""A file for each embedding."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xvectors.errors import first_line
from xvectors.storage import pt_file
from xvectors.storage.base import Found, Storage, hash_versions
from xvectors.storage.provenance import Provenance, Standing, compare, digest_of

if TYPE_CHECKING:
    import torch

EMBEDDING_SUFFIX = ".pt"


class FileStorage(Storage):
    """A file for each embedding, at the path that a runner chooses."""

    def __init__(
        self,
        folder: Path,
        output_path: Callable[[Path, str], Path],
        check_output: Callable[[Path], None],
    ) -> None:
        """Take the folder of a split's embeddings, and a runner's two methods."""
        self.folder = folder
        self.output_path = output_path
        self.check_output = check_output
        self._made_folders: set[Path] = set()

    def path(self, utt_id: str) -> Path:
        """Return the file of an embedding."""
        return self.output_path(self.folder, utt_id)

    def find(self, utt_id: str, wanted: Provenance) -> Found:
        """Read the file's provenance.

        A file with its provenance beside it is checked too, because its provenance does not show
        damage.
        """
        path = self.path(utt_id)
        content = pt_file.read_file(path)
        if content is None:
            return Found(Standing.MISSING)
        digest = digest_of(pt_file.provenance_of(path, content))
        if digest is None:
            return Found(Standing.STALE)
        standing = compare(digest, wanted.digest())
        found = Found(standing, frozenset([digest.content]), digest.decoded)
        if path.suffix != EMBEDDING_SUFFIX and pt_file.stands_beside(path):
            try:
                self.check(utt_id)
            except Exception:  # a damaged file may make a reader raise anything
                return Found(Standing.STALE)
        return found

    def update_provenance(self, utt_id: str, provenance: Provenance) -> None:
        """Write the file again with this provenance."""
        path = self.path(utt_id)
        found = digest_of(pt_file.read_provenance(path))
        kept = replace(provenance, decoded=found.decoded if found else None)
        pt_file.stamp(path, kept.encode())

    def save(
        self, utt_id: str, embedding: "torch.Tensor", provenance: Provenance | None = None
    ) -> None:
        """Write a file."""
        path = self.path(utt_id)
        if path.parent not in self._made_folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._made_folders.add(path.parent)
        pt_file.save_embedding(embedding, path, provenance.encode() if provenance else b"")

    def verify_and_stamp(self, utt_id: str, provenance: Provenance) -> str | None:
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
        pt_file.stamp(path, provenance.encode())
        return None

    def check(self, utt_id: str) -> None:
        """Run the runner's own check."""
        self.check_output(self.path(utt_id))

    def discard(self, utt_id: str) -> None:
        """Remove a file and its provenance."""
        pt_file.discard(self.path(utt_id))

    def version(self, utt_ids: Iterable[str]) -> str | None:
        """Return a hash of the files' versions."""
        return hash_versions(self.path(utt_id) for utt_id in utt_ids)
