"""The journal of a shard: the embeddings of an unfinished job."""

import errno
import os
import re
import struct
import uuid
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
from numpy.typing import NDArray

from xvectors.files.atomic import unwritable
from xvectors.storage.packs import (
    NUMBER,
    PROVENANCE_BYTES,
    Row,
    files_named,
    pack_provenance,
    unpack_provenance,
)
from xvectors.storage.provenance import ProvenanceDigest

JOURNAL_SUFFIX = ".journal"
# The fields before name and vector in a journal: the checksum of all that follows, the name's
# length in bytes, the vector's length in numbers, and its provenance.
_RECORD = struct.Struct(f"<IHI{PROVENANCE_BYTES}s")
_CHECKSUM_BYTES = 4
_JOURNAL_NAME = re.compile(rf"\.(\d+-of-\d+)\.[0-9a-f]{{12}}{re.escape(JOURNAL_SUFFIX)}")


class Journal:
    """The embeddings of a running job in a file of its own; several threads may append."""

    def __init__(self, folder: Path, shard: str) -> None:
        """Create a journal of a shard in `folder`. The file is created with the first row."""
        self._folder, self._shard = folder, shard
        self._file: IO[bytes] | None = None
        self._lock = Lock()

    @cached_property
    def path(self) -> Path:
        """The file. Processes that are forked before the first row have one each."""
        return self._folder / f".{self._shard}.{uuid.uuid4().hex[:12]}{JOURNAL_SUFFIX}"

    def append(self, name: str, vector: NDArray[np.float32], provenance: ProvenanceDigest) -> Row:
        """Add an embedding, shape (dim,), and return its row."""
        content = vector.astype(NUMBER).tobytes()
        encoded = name.encode()
        packed = pack_provenance(provenance)
        record = _RECORD.pack(0, len(encoded), len(vector), packed) + encoded + content
        record = struct.pack("<I", zlib.crc32(record[_CHECKSUM_BYTES:])) + record[_CHECKSUM_BYTES:]
        try:
            with self._lock:
                if self._file is None:
                    self._file = self.path.open("ab", buffering=0)
                written = self._file.write(record)
                end = self._file.tell()
            if written != len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise unwritable(self.path, error) from error
        return Row(self.path, end - len(content), len(vector), provenance, zlib.crc32(content))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def read_journal(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a journal up to the first damaged one; none if it is gone.

    A job that has put the rows into a pack removes the journal.
    """
    with suppress(FileNotFoundError), path.open("rb") as file:
        n_bytes = path.stat().st_size
        while len(head := file.read(_RECORD.size)) == _RECORD.size:
            checksum, n_name, dim, packed = _RECORD.unpack(head)
            if dim * NUMBER.itemsize > n_bytes:
                return
            name = file.read(n_name)
            offset = file.tell()
            content = file.read(dim * NUMBER.itemsize)
            if zlib.crc32(head[_CHECKSUM_BYTES:] + name + content) != checksum:
                return
            provenance = unpack_provenance(packed)
            yield name.decode(), Row(path, offset, dim, provenance, zlib.crc32(content))


def list_journals(folder: Path) -> dict[Path, str]:
    """Return the journals in a folder with the names of their shards."""
    return files_named(folder, _JOURNAL_NAME)
