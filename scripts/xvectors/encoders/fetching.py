"""Fetching an encoder from the hub or a local folder into one folder of plain files."""

import json
import shutil
from pathlib import Path
from typing import Any

from xvectors.config.toolkits import is_local
from xvectors.encoders.source import (
    encoder_files,
    files_version,
    fingerprint_of,
    locate_encoder,
    unpacked,
)
from xvectors.errors import EncoderError
from xvectors.files.atomic import write_atomically
from xvectors.files.json_text import parse_json


def fetch_encoder(pretrained_model: str | None, description: Path) -> None:
    """Copy an encoder into the folder of `description`, and then write the description.

    The folder holds copies rather than links, so that jobs on any node can load them at the same
    time. `description` is JSON: `source` as configured, `revision` (the hub's commit, null for a
    local folder), `fingerprint` (of the files' names and contents, null without an encoder).

    Raises:
        EncoderError: The hub cannot be reached, or there is no encoder at that path.

    """
    about: dict[str, Any] = {"source": pretrained_model, "files": files_version(pretrained_model)}
    about |= {"revision": None, "fingerprint": None}
    source = None if pretrained_model is None else locate_encoder(pretrained_model)
    folder = description.parent
    if source is not None and source.resolve() == folder.resolve():
        raise EncoderError(
            f"{source} is the folder that the encoder is copied to; give the original"
        )
    folder.mkdir(parents=True, exist_ok=True)
    # The description goes first: without its files it would be wrong.
    for path in sorted(folder.iterdir(), key=lambda one: one != description):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if source is not None:
        about["revision"] = None if is_local(str(pretrained_model)) else source.name
        with unpacked(source) as place:
            for path in encoder_files(place):
                copy = folder / (path.relative_to(place) if place.is_dir() else path.name)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        about["fingerprint"] = fingerprint_of(folder)
    write_atomically(description, json.dumps(about, indent=2).encode() + b"\n")


def describes(description: Path, pretrained_model: str | None) -> bool:
    """Tell whether `description` matches both this encoder as it is now and the copy beside it.

    The copy is read, but not the encoder's own files.
    """
    try:
        about = parse_json(description.read_bytes())
        return bool(
            about["source"] == pretrained_model
            and about["files"] == files_version(pretrained_model)
            and about["fingerprint"]
            == (None if pretrained_model is None else fingerprint_of(description.parent))
        )
    except (OSError, ValueError, KeyError, TypeError, EncoderError):
        return False


def read_fingerprint(description: Path) -> str | None:
    """Return the fingerprint in an ``encoder.json``, None if there is no encoder.

    Raises:
        EncoderError: The description is missing or damaged.

    """
    try:
        fingerprint: str | None = parse_json(description.read_bytes())["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderError(
            f"{description}: not a description of an encoder. Delete it and rerun the same command"
        ) from error
    return fingerprint
