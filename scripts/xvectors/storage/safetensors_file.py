"""Safetensors files of many vectors, written one by one.

The library's own writer needs all vectors in memory at once and sorts them by name. Exports have
millions of vectors, and packs keep the order of the manifest, so both are written here.

The format (huggingface/safetensors, "Format"): the length of the header as 8 bytes, the header as
JSON with every tensor's type, shape and place, and the tensors' bytes without gaps.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvectors.errors import ExportError
from xvectors.files.atomic import replacing
from xvectors.files.json_text import parse_json

# The library refuses longer ones.
MAX_HEADER_BYTES = 100_000_000
ALIGNMENT = 8
METADATA = "__metadata__"


def write_vectors(
    path: Path,
    names: Iterable[str],
    vectors: Iterable[NDArray[np.float32]],
    dim: int,
    metadata: Mapping[str, str],
) -> None:
    """Write one float32 tensor of shape (dim,) per name, whole or not at all.

    Names are all different, and vectors come in their order. The metadata are further entries.

    Raises:
        ExportError: There are too many names for one file, or one is reserved by the format.

    """
    header, n_names = _header(path, names, dim, metadata)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(header)))
        file.write(header)
        for _, vector in zip(range(n_names), vectors, strict=True):
            file.write(vector.astype("<f4").tobytes())


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of a file, in its order, and the first byte after it.

    Raises:
        OSError: The file cannot be read.
        ValueError: It has no header.

    """
    with path.open("rb") as file:
        (n_bytes,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
        if n_bytes > MAX_HEADER_BYTES:
            raise ValueError("it has no header")
        header = parse_json(file.read(n_bytes))
        if not isinstance(header, dict):
            raise ValueError("its header is not a map")
        return header, file.tell()


def _header(
    path: Path, names: Iterable[str], dim: int, metadata: Mapping[str, str]
) -> tuple[bytearray, int]:
    """Return the header and the number of names in it."""
    n_bytes = dim * np.dtype(np.float32).itemsize
    header = bytearray(f"{{{_as_json(METADATA)}:{_as_json(dict(metadata))}".encode())
    n_names = 0
    for name in names:
        if name == METADATA:
            raise ExportError(f"{path}: {METADATA} is not a valid tensor name in this format")
        place = f"[{n_names * n_bytes},{(n_names + 1) * n_bytes}]"
        entry = f',{_as_json(name)}:{{"dtype":"F32","shape":[{dim}],"data_offsets":{place}}}'
        header += entry.encode()
        if len(header) >= MAX_HEADER_BYTES:
            raise ExportError(
                f"{path}: no more than {n_names} of the names fit into one safetensors file, whose "
                "header may have 100 MB; make more splits, export to parquet, or, for speakers, "
                "set xvector.speaker_means to false"
            )
        n_names += 1
    header += b"}"
    return header + b" " * (-len(header) % ALIGNMENT), n_names


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
