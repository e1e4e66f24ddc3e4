"""The ``.pt`` file of one vector, as ``torch.save`` writes and ``torch.load`` reads it, but faster.

Both take a third of a millisecond for a few hundred numbers, which is long for millions of files.
And ``torch.load`` ignores the checksums of the file's zip container (PyTorch builds its zip reader
without them), so that a flipped bit gives another vector. Here a file is written by putting other
numbers into a file that ``torch.save`` once wrote for a vector of that length. It is read by
comparing all checksums and taking the vector from its place. Files with other content are left to
``torch.load``.
"""

import io
import struct
import zipfile
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xvectors.errors import machine_problem
from xvectors.files.atomic import write_atomically

if TYPE_CHECKING:
    import torch


def save_embedding(embedding: "torch.Tensor", path: Path, provenance: bytes = b"") -> None:
    """Write an embedding, shape (dim,), and with it its provenance, whole or not at all."""
    content = vector_file(np.asarray(embedding.detach().float().cpu().numpy()))
    write_atomically(path, with_comment(content, provenance) or content, durable=False)


def stamp(path: Path, provenance: bytes) -> None:
    """Give a file a provenance, instead of the one that it may have."""
    stamped = with_comment(path.read_bytes(), provenance)
    if stamped is not None:
        write_atomically(path, stamped, durable=False)
    else:
        write_atomically(_sidecar(path), provenance, durable=False)


def read_provenance(path: Path) -> bytes | None:
    """Return the provenance of the file at `path`, None when there is no whole file."""
    content = read_file(path)
    return None if content is None else provenance_of(path, content)


def provenance_of(path: Path, content: bytes) -> bytes | None:
    """Return the provenance of the file at `path` with this content, None when it is not whole."""
    return read_comment(content) or read_file(_sidecar(path))


def read_file(path: Path) -> bytes | None:
    """Return the content of a file, None when there is none.

    Raises:
        OSError: The machine cannot read it, see `machine_problem`.

    """
    try:
        return path.read_bytes()
    except OSError as error:
        if machine_problem(error):
            raise
        return None


def stands_beside(path: Path) -> bool:
    """Tell whether a file's provenance is in a file of its own, which does not show damage."""
    return _sidecar(path).exists()


def discard(path: Path) -> None:
    """Remove a file and its provenance. A folder of that name stays; whoever writes will say so."""
    with suppress(IsADirectoryError):
        path.unlink(missing_ok=True)
    _sidecar(path).unlink(missing_ok=True)


def _sidecar(path: Path) -> Path:
    return path.with_name(f".{path.name}.provenance")


# The zip format (APPNOTE.TXT 6.3.10, 4.3.7, 4.3.9, 4.3.12 and 4.3.16): the end of a container's
# directory, an entry of that directory, a record's header, and a record's optional descriptor.
_END = struct.Struct("<4s4x2H2IH")
_ENTRY = struct.Struct("<4s6xH4x3I3H8xI")
_HEADER = struct.Struct("<4s22x2H")
_END_SIGNATURE, _ENTRY_SIGNATURE, _HEADER_SIGNATURE = b"PK\5\6", b"PK\1\2", b"PK\3\4"
_FOLLOWING_SIGNATURE = b"PK\7\x08"
_CHECKSUM = struct.Struct("<I")
# Where an entry has its record's checksum.
_CHECKSUM_IN_ENTRY = 16
_STORED = 0
# The last field of the directory's end: the length of the comment behind it.
_COMMENT_LENGTH = struct.Struct("<H")
_NUMBERS, _PICKLE, _BYTE_ORDER = b"data/0", b"data.pkl", b"byteorder"
_NUMBER = np.dtype("<f4")
# The pickle of a float32 vector, whose length is twice in it, as an integer of 1, 2 or 4 bytes.
_PICKLED = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00((X\x07\x00\x00\x00storageq\x01ctorch\n"
    b"FloatStorage\nq\x02X\x01\x00\x00\x000q\x03X\x03\x00\x00\x00cpuq\x04%btq\x05QK\x00%b\x85q\x06"
    b"K\x01\x85q\x07\x89ccollections\nOrderedDict\nq\x08)Rq\ttq\nRq\x0b."
)


class _Record(NamedTuple):
    """The places of a record's bytes in a container and of its entry in the directory."""

    begin: int
    end: int
    entry: int


def vector_file(vector: NDArray[np.float32]) -> bytes:
    """Return the content of a file from which ``torch.load`` reads `vector`, shape (dim,)."""
    template, places = _template(len(vector))
    content = bytearray(template)
    numbers = vector.astype(_NUMBER).tobytes()
    checksum = _CHECKSUM.pack(zlib.crc32(numbers))
    content[places[0] : places[0] + len(numbers)] = numbers
    for place in places[1:]:
        content[place : place + _CHECKSUM.size] = checksum
    return bytes(content)


@cache
def _template(n_numbers: int) -> tuple[bytes, list[int]]:
    """Return a file of zeros, and the places of its numbers and their checksums."""
    import torch  # noqa: PLC0415 - readers start without torch

    buffer = io.BytesIO()
    torch.save(torch.zeros(n_numbers), buffer)
    content = buffer.getvalue()
    _, end, entry = _records(content)[_NUMBERS]
    places = [end - n_numbers * _NUMBER.itemsize, entry + _CHECKSUM_IN_ENTRY]
    if content[end : end + len(_FOLLOWING_SIGNATURE)] == _FOLLOWING_SIGNATURE:
        places.append(end + len(_FOLLOWING_SIGNATURE))
    return content, places


def load_vector(path: Path) -> NDArray[np.float32]:
    """Return the vector in a file, shape (dim,).

    Raises:
        ValueError: The file is damaged, or holds no float32 vector.
        Exception: Any exception of ``torch.load``, for a file of another kind.

    """
    found = load_any(path)
    if isinstance(found, np.ndarray):
        return found
    kind, shape = str(getattr(found, "dtype", type(found).__name__)), getattr(found, "shape", ())
    if (kind, len(shape)) != ("torch.float32", 1):
        raise ValueError(f"holds {kind} of shape {tuple(shape)}, not an embedding")
    return np.asarray(found.numpy())


def load_any(path: Path) -> Any:
    """Return what `torch.save` has written.

    A float32 vector comes as an array, shape (dim,), without importing PyTorch; anything else as
    ``torch.load`` returns it, on the CPU.

    Raises:
        ValueError: The file is damaged.
        Exception: Any exception of ``torch.load``, for a file of another kind.

    """
    content = path.read_bytes()
    vector = _vector(content)
    return _load_anything(content) if vector is None else vector


def read_comment(content: bytes) -> bytes | None:
    """Return the comment of a zip container, None unless there is one, and it is whole."""
    end = content.rfind(_END_SIGNATURE)
    if end < 0 or end + _END.size > len(content):
        return None
    *_, n_comment = _END.unpack_from(content, end)
    comment = content[end + _END.size :]
    return comment if comment and len(comment) == n_comment else None


def with_comment(content: bytes, comment: bytes) -> bytes | None:
    """Return a zip container with this comment instead of its own; None for anything else."""
    own = read_comment(content) or b""
    container = content[: len(content) - len(own)]
    if not container[-_END.size :].startswith(_END_SIGNATURE):
        return None
    return container[: -_COMMENT_LENGTH.size] + _COMMENT_LENGTH.pack(len(comment)) + comment


def _load_anything(content: bytes) -> Any:
    import torch  # noqa: PLC0415

    file = io.BytesIO(content)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as container:
            damaged = container.testzip()
        if damaged is not None:
            raise ValueError(f"damaged, the checksum of {damaged} is wrong")
    file.seek(0)
    return torch.load(file, weights_only=True, map_location="cpu")


def _vector(content: bytes) -> NDArray[np.float32] | None:
    """Return a file's vector, None unless the file is whole and holds nothing else."""
    try:
        records = _records(content)
        found = {name: content[one.begin : one.end] for name, one in records.items()}
        n_numbers, rest = divmod(len(found[_NUMBERS]), _NUMBER.itemsize)
        length = _pickled_length(n_numbers)
        is_vector = found[_PICKLE] == _PICKLED % (length, length)
    except (struct.error, ValueError, KeyError):
        return None
    if rest or not is_vector or found.get(_BYTE_ORDER) != b"little":
        return None
    return np.frombuffer(found[_NUMBERS], _NUMBER).copy()


def _pickled_length(n_numbers: int) -> bytes:
    """Return an integer as pickle's protocol 2 writes it."""
    for code, layout, limit in (b"K", "<B", 2**8), (b"M", "<H", 2**16), (b"J", "<i", 2**31):
        if n_numbers < limit:
            return code + struct.pack(layout, n_numbers)
    raise ValueError(f"too many numbers for an embedding: {n_numbers}")


def _records(content: bytes) -> dict[bytes, _Record]:
    """Return a container's records by their names, without their folder's.

    Raises:
        ValueError: A checksum is wrong, or this is no container that ``torch.save`` writes.
        struct.error: It is cut off.

    """
    end = content.rfind(_END_SIGNATURE)
    if end < 0:
        raise ValueError("no container")
    _, _, n_records, _, entry, _ = _END.unpack_from(content, end)
    records = {}
    for _ in range(n_records):
        signature, method, checksum, packed, size, n_name, n_extra, n_comment, start = (
            _ENTRY.unpack_from(content, entry)
        )
        header, n_own_name, n_own_extra = _HEADER.unpack_from(content, start)
        begin = start + _HEADER.size + n_own_name + n_own_extra
        is_known = (signature, header) == (_ENTRY_SIGNATURE, _HEADER_SIGNATURE)
        found = zlib.crc32(content[begin : begin + size])
        if not is_known or (method, packed) != (_STORED, size) or found != checksum:
            raise ValueError("another container, or a damaged one")
        name = content[entry + _ENTRY.size : entry + _ENTRY.size + n_name]
        records[name.partition(b"/")[2]] = _Record(begin, begin + size, entry)
        entry += _ENTRY.size + n_name + n_extra + n_comment
    return records
