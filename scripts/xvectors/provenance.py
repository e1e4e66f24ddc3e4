"""Provenance: what made an embedding, kept inside the embedding's own file.

An embedding is current when its provenance equals what would make it today, and stale
otherwise. The provenance is one line of JSON in the comment of the ``.pt`` file's zip
container, which ``torch.load`` passes over. So it is written, moved and lost together with
the vector, and a file that was cut short has none. Files of another kind (a runner of your
own may leave any) carry it in a hidden file beside them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from xvectors.audio.segment import Segment
from xvectors.audio.signals import AudioVersion
from xvectors.encoders.toolkits import TOOLKITS, installed_version
from xvectors.fetching import read_fingerprint
from xvectors.files import parse_json, write_atomically
from xvectors.layout import Layout
from xvectors.storage.embedding_file import read_comment, vector_file, with_comment

if TYPE_CHECKING:
    import torch

# Raise it whenever the vectors change by more than rounding.
NUMERICS_VERSION = 1


def make_recipe(config: DictConfig) -> dict[str, Any]:
    """Return all that changes vectors, except the encoder and the audio themselves."""
    xvector = config.xvector
    return {
        "toolkit": xvector.toolkit,
        "toolkit_version": installed_version(TOOLKITS[xvector.toolkit].package),
        "precision": xvector.precision,
        "provider": xvector.provider,
        "runner": xvector.runner,
        "numerics": NUMERICS_VERSION,
    }


def describe_origin(config: DictConfig) -> dict[str, str]:
    """Return, as metadata of files that hold many embeddings, what made them: JSON."""
    encoder = read_fingerprint(Layout.of(config).encoder)
    made_by = make_recipe(config) | {"encoder": encoder, "source": config.xvector.pretrained_model}
    return {"made_by": _as_json(made_by).decode()}


@dataclass(frozen=True)
class Origin:
    """What makes the embeddings of a manifest: a recipe, an encoder, and the audio files.

    `fingerprint` is the encoder's, None where there is none; `wav_paths` and `segments` are
    the manifest's, one per utterance.
    """

    recipe: dict[str, Any]
    fingerprint: str | None
    wav_paths: Sequence[str]
    segments: Sequence[Segment | None]

    def provenance(self, index: int, audio: AudioVersion | None) -> bytes:
        """Return the provenance of an embedding that is made now from a version of its audio."""
        made_by = {**self.recipe, "encoder": self.fingerprint, "wav_path": self.wav_paths[index]}
        segment = self.segments[index]
        made_by |= segment._asdict() if segment else {}
        return _as_json(made_by | (audio._asdict() if audio else {}))


def parse_provenance(made_by: bytes | None) -> dict[str, Any]:
    """Return the entries of a provenance, none where there is none or another's comment."""
    try:
        found = parse_json(made_by or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def is_same_but_audio(one: bytes | None, other: bytes) -> bool:
    """Tell whether two provenances differ in nothing but the version of the audio file."""
    version = dict.fromkeys(AudioVersion._fields)
    return parse_provenance(one) | version == parse_provenance(other) | version


def save_embedding(embedding: "torch.Tensor", path: Path, made_by: bytes = b"") -> None:
    """Write an embedding, shape (dim,), and with it its provenance, whole or not at all."""
    content = vector_file(np.asarray(embedding.detach().float().cpu().numpy()))
    write_atomically(path, with_comment(content, made_by) or content, durable=False)


def stamp(path: Path, made_by: bytes) -> None:
    """Give a file that a runner has written its provenance."""
    stamped = with_comment(path.read_bytes(), made_by)
    if stamped is not None:
        write_atomically(path, stamped, durable=False)
    else:
        write_atomically(_sidecar(path), made_by, durable=False)


def read_provenance(path: Path) -> bytes | None:
    """Return the provenance of the file at `path`, None when there is no whole file."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    comment = read_comment(content)
    if comment is not None:
        return comment
    try:
        return _sidecar(path).read_bytes()
    except OSError:
        return None


def stands_beside(path: Path) -> bool:
    """Tell whether a file's provenance is in a file of its own, which tells nothing of damage."""
    return _sidecar(path).exists()


def discard(path: Path) -> None:
    """Remove a file and its provenance."""
    path.unlink(missing_ok=True)
    _sidecar(path).unlink(missing_ok=True)


def _as_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _sidecar(path: Path) -> Path:
    return path.with_name(f".{path.name}.provenance")
