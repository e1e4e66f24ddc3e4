"""Provenance: what made an embedding, kept inside the embedding's own file.

An embedding is current when its provenance equals what would make it today, and stale
otherwise. The provenance is one line of JSON in the comment of the ``.pt`` file's zip
container, which ``torch.load`` passes over. So it is written, moved and lost together with
the vector, and a file that was cut short has none. Files of another kind (a runner of your
own may leave any) carry it in a hidden file beside them.
"""

import io
import json
import struct
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from xvectors.audio import AudioVersion
from xvectors.files import write_atomically

if TYPE_CHECKING:
    import torch

# Raise it whenever the vectors change by more than rounding.
NUMERICS_VERSION = 1

# The zip format's end-of-central-directory record: 22 bytes, the last two of which are the
# length of the comment that follows (APPNOTE.TXT 6.3.10, 4.3.16).
_END_RECORD = b"PK\x05\x06"
_END_RECORD_BYTES = 22


def make_recipe(config: DictConfig) -> dict[str, Any]:
    """Return all that changes vectors, except the encoder and the audio themselves."""
    xvector = config.xvector
    return {
        "toolkit": xvector.toolkit,
        "toolkit_version": _version(xvector.toolkit),
        "precision": xvector.precision,
        "provider": xvector.provider,
        "runner": xvector.runner,
        "numerics": NUMERICS_VERSION,
    }


def provenance(
    recipe: dict[str, Any], fingerprint: str | None, wav_path: str, audio: AudioVersion | None
) -> bytes:
    """Return the provenance of one embedding: recipe, encoder's fingerprint, audio file."""
    version = audio._asdict() if audio else {}
    made_by = recipe | {"encoder": fingerprint, "wav_path": wav_path} | version
    return json.dumps(made_by, sort_keys=True, separators=(",", ":")).encode()


def save_embedding(embedding: "torch.Tensor", path: Path, made_by: bytes) -> None:
    """Write a tensor and its provenance to `path`, whole or not at all."""
    import torch  # noqa: PLC0415 - reading provenance needs no torch

    buffer = io.BytesIO()
    # A row of a batch would take the whole batch's storage along.
    torch.save(embedding.clone(), buffer)
    write_atomically(path, _with_comment(buffer.getvalue(), made_by))


def stamp(path: Path, made_by: bytes) -> None:
    """Give a file that a runner has written its provenance."""
    content = path.read_bytes()
    if _is_zip_without_comment(content):
        write_atomically(path, _with_comment(content, made_by))
    else:
        write_atomically(_sidecar(path), made_by)


def read_provenance(path: Path) -> bytes | None:
    """Return the provenance of the file at `path`, None when there is no whole file."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    record = content.rfind(_END_RECORD)
    if record >= 0:
        comment = content[record + _END_RECORD_BYTES :]
        stated = content[record + _END_RECORD_BYTES - 2 : record + _END_RECORD_BYTES]
        if comment and stated == struct.pack("<H", len(comment)):
            return comment
    try:
        return _sidecar(path).read_bytes()
    except OSError:
        return None


def discard_sidecar(path: Path) -> None:
    """Remove the provenance beside a file that is about to be written anew."""
    _sidecar(path).unlink(missing_ok=True)


def _with_comment(content: bytes, comment: bytes) -> bytes:
    return content[:-2] + struct.pack("<H", len(comment)) + comment


def _is_zip_without_comment(content: bytes) -> bool:
    return content[-_END_RECORD_BYTES:].startswith(_END_RECORD)


def _sidecar(path: Path) -> Path:
    return path.with_name(f".{path.name}.provenance")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
