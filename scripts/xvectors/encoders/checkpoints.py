"""Checkpoints read as data: tensors by name, and no code."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from xvectors.errors import EncoderError, first_line

MAX_REASON = 300


def read_checkpoint(path: Path) -> Mapping[str, object]:
    """Load a file of `torch.save` that holds tensors and plain containers only.

    Raises:
        EncoderError: The file is cut off or not a checkpoint, or its pickle contains code.

    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive or pickle may raise anything
        raise EncoderError(
            f"{path}: cannot be read as weights ({type(error).__name__}): it is cut off, or not "
            "a checkpoint, or holds objects besides tensors, which are refused because they may "
            "run code"
        ) from error
    if not isinstance(content, Mapping):
        raise EncoderError(f"{path}: holds a {type(content).__name__}, not weights by name")
    return content


def weights_under(key: str, path: Path, kind: str) -> Mapping[str, Any]:
    """Load the weights under a key of a checkpoint. Messages name its kind.

    Raises:
        EncoderError: It has none, or cannot be read.

    """
    weights = read_checkpoint(path).get(key)
    if not isinstance(weights, dict):
        raise EncoderError(f"{path}: not a {kind} checkpoint, there are no weights under `{key}`")
    return weights


def read_safetensors(path: Path) -> Mapping[str, object]:
    """Load the tensors of a safetensors file.

    Raises:
        EncoderError: The file is cut off, or of another kind.

    """
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise EncoderError(f"{path}: cannot be read as weights: {first_line(error)}") from error


def load_weights(
    network: torch.nn.Module,
    weights: Mapping[str, object],
    path: Path,
    unused: Collection[str] = (),
) -> None:
    """Fill a network with the weights of the file at `path`, except for those of `unused` modules.

    Raises:
        EncoderError: Their names or shapes are not exactly the network's.

    """
    used = {name: one for name, one in weights.items() if str(name).partition(".")[0] not in unused}
    try:
        network.load_state_dict(used)
    except Exception as error:  # wrong names and shapes, but also values that are not tensors
        reason = " ".join(str(error).split())
        reason = reason if len(reason) <= MAX_REASON else f"{reason[:MAX_REASON]} ..."
        raise EncoderError(f"{path}: not the weights of this network: {reason}") from error
