"""Packs: the embeddings of a shard in one safetensors file.

A pack is written whole or not at all, when its shard is done. Until then a job appends every
embedding to a journal, so that the job after a killed one continues from there. A row of either
carries a checksum and the digest of its provenance.
"""

import json
import logging
import math
import os
import re
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xvectors.audio.signal import Decoded
from xvectors.errors import ShardError
from xvectors.storage.provenance import ProvenanceDigest
from xvectors.storage.safetensors_file import MAX_HEADER_BYTES, METADATA, read_header, write_vectors

logger = logging.getLogger(__name__)

PACK_SUFFIX = ".safetensors"
ROWS = "rows"
# A provenance: its two hashes, the size of the audio file, the hash of its content, the seconds
# that were decoded, whether the audio is silent, and the seconds of speech. Seconds are NaN where
# they are not known.
_PROVENANCE = struct.Struct("<8s8sq16sd?d")
PROVENANCE_BYTES = _PROVENANCE.size
# The metadata of a pack hold, for every row, its provenance and the checksum of its bytes.
_CHECKSUM = struct.Struct("<I")
_ROW_BYTES = PROVENANCE_BYTES + _CHECKSUM.size
NUMBER = np.dtype("<f4")
# An upper bound of a row's bytes in a header, without its name.
_ROW_HEADER_BYTES = (
    2 * _ROW_BYTES + len('"":{"dtype":"F32","shape":[99999],"data_offsets":[,]},') + 24
)
_NAME = re.compile(rf"(\d+-of-\d+){re.escape(PACK_SUFFIX)}")


class Row(NamedTuple):
    """The place of an embedding of `dim` numbers, its provenance, and its bytes' checksum."""

    source: Path
    offset: int
    dim: int
    provenance: ProvenanceDigest
    checksum: int

    def read(self) -> NDArray[np.float32]:
        """Return the embedding, shape (dim,).

        Raises:
            ShardError: It is damaged, or gone.

        """
        try:
            with self.source.open("rb") as file:
                file.seek(self.offset)
                content = file.read(self.dim * NUMBER.itemsize)
        except FileNotFoundError as error:
            raise ShardError(
                f"{self.source}: is gone, because another job has finished this shard. Rerun the "
                "same command"
            ) from error
        if zlib.crc32(content) != self.checksum:
            raise ShardError(f"{self.source}: is damaged. Rerun the same command")
        return np.frombuffer(content, NUMBER)


def pack_provenance(provenance: ProvenanceDigest) -> bytes:
    """Return a provenance in `PROVENANCE_BYTES`."""
    decoded = provenance.decoded or Decoded(math.nan)
    speech_seconds = math.nan if decoded.speech_seconds is None else decoded.speech_seconds
    return _PROVENANCE.pack(*provenance[:-1], decoded.seconds, decoded.is_silent, speech_seconds)


def unpack_provenance(packed: bytes) -> ProvenanceDigest:
    """Return a provenance that `pack_provenance` has packed."""
    how, version, size, content, seconds, is_silent, speech_seconds = _PROVENANCE.unpack(packed)
    speech = None if math.isnan(speech_seconds) else speech_seconds
    decoded = None if math.isnan(seconds) else Decoded(seconds, is_silent, speech)
    return ProvenanceDigest(how, version, size, content, decoded)


def check_names(place: str, names: list[str]) -> None:
    """Raise ShardError if rows of these names do not fit into one pack."""
    if METADATA in names:
        raise ShardError(
            f"{place}: {METADATA} is not a valid tensor name in a safetensors file. Rename that "
            "utterance, or set xvector.storage to files"
        )
    n_bytes = sum(len(json.dumps(name, ensure_ascii=False).encode()) for name in names)
    n_bytes += len(names) * _ROW_HEADER_BYTES
    if n_bytes > MAX_HEADER_BYTES:
        raise ShardError(
            f"{place}: {len(names)} utterances are too many for one safetensors file, whose header "
            f"may have {MAX_HEADER_BYTES // 10**6} MB; make xvector.n_shards at least "
            f"{n_bytes // MAX_HEADER_BYTES + 1} times larger"
        )


def write_pack(path: Path, rows: Mapping[str, Row], metadata: Mapping[str, str]) -> None:
    """Write a pack from rows of other files, a tensor per name, whole or not at all."""
    about = b"".join(
        pack_provenance(row.provenance) + _CHECKSUM.pack(row.checksum) for row in rows.values()
    )
    dims = {row.dim for row in rows.values()} or {0}
    if len(dims) > 1:
        raise ShardError(f"{path}: embeddings of {sorted(dims)} numbers cannot be in one pack")
    vectors = (row.read() for row in rows.values())
    write_vectors(path, list(rows), vectors, dims.pop(), {**metadata, ROWS: about.hex()})


class _Contents(NamedTuple):
    """A pack's header: names in order, the vectors' length, the first byte, the rows.

    A row has `_ROW_BYTES` in `about`.
    """

    names: list[str]
    dim: int
    start: int
    about: bytes

    def row(self, path: Path, i: int) -> Row:
        offset = self.start + i * self.dim * NUMBER.itemsize
        about = self.about[i * _ROW_BYTES : (i + 1) * _ROW_BYTES]
        provenance = unpack_provenance(about[: -_CHECKSUM.size])
        (checksum,) = _CHECKSUM.unpack(about[-_CHECKSUM.size :])
        return Row(path, offset, self.dim, provenance, checksum)


def _read_contents(path: Path) -> _Contents:
    """Read a pack's header.

    Raises:
        ShardError: There is no pack, or its header is damaged.

    """
    try:
        entries, start = read_header(path)
        about = bytes.fromhex(entries.pop(METADATA)[ROWS])
        shapes = {tuple(entry["shape"]) for entry in entries.values()} or {(0,)}
        ((dim,),) = shapes
        size = dim * NUMBER.itemsize
        places = [entry["data_offsets"] for entry in entries.values()]
        n_rows = len(entries)
        is_whole = len(about) == n_rows * _ROW_BYTES
        if not is_whole or places != [[i * size, (i + 1) * size] for i in range(n_rows)]:
            raise ValueError("it is damaged")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{path}: not a pack ({error}). Rerun the same command") from error
    return _Contents(list(entries), dim, start, about)


def describe(path: Path) -> tuple[bytes | None, list[str]]:
    """Return the provenance that all rows of a pack share, None without a header, and all names."""
    try:
        entries, _ = read_header(path)
        return str(entries.pop(METADATA)["provenance"]).encode(), list(entries)
    except (OSError, ValueError, KeyError, TypeError):
        return None, []


def read_pack(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the undamaged rows of a pack; none without a whole pack."""
    try:
        contents = _read_contents(path)
    except ShardError as error:
        if path.exists():
            logger.warning("%s", error)
        return
    size = contents.dim * NUMBER.itemsize
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(contents.start)
        for i, name in enumerate(contents.names):
            row = contents.row(path, i)
            if zlib.crc32(file.read(size)) == row.checksum:
                yield name, row


class Pack:
    """A pack from which embeddings are read by name.

    It takes 32 bytes of memory per row, so that all packs of a split can be open together.
    """

    def __init__(self, path: Path) -> None:
        """Read the header of the pack at `path`.

        Raises:
            ShardError: There is no pack, or it is damaged.

        """
        contents = _read_contents(path)
        self.path = path
        self._contents = contents._replace(names=[])
        hashes = np.fromiter(map(hash, contents.names), np.int64, len(contents.names))
        self._order = hashes.argsort(kind="stable").astype(np.int32)
        self._hashes = hashes[self._order]
        if (self._hashes[1:] == self._hashes[:-1]).any():
            raise ShardError(f"{path}: two names in it have the same hash. Rerun the same command")

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """Return an embedding, shape (dim,).

        Raises:
            ShardError: It is damaged, or not in this pack.

        """
        place = bisect_left(self._hashes, hash(name))
        if place == len(self._hashes) or self._hashes[place] != hash(name):
            raise ShardError(f"{self.path}: {name} is not in it. Rerun the same command")
        return self._contents.row(self.path, int(self._order[place])).read()


def list_packs(folder: Path) -> dict[Path, str]:
    """Return the packs in a folder with the names of their shards."""
    return files_named(folder, _NAME)


def files_named(folder: Path, name: re.Pattern[str]) -> dict[Path, str]:
    """Return the files in a folder whose names match, each with its first group, sorted."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        # There may be millions of other files.
        found = {
            entry.path: match[1]
            for entry in entries
            if (match := name.fullmatch(entry.name)) and entry.is_file()
        }
    return {Path(path): found[path] for path in sorted(found)}
