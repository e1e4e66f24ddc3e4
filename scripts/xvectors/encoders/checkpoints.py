"""Checkpoints read as data: tensors by name, and no code."""

from collections.abc import Mapping
from pathlib import Path

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


def read_safetensors(path: Path) -> Mapping[str, object]:
    """Load the tensors of a safetensors file.

    Raises:
        EncoderError: The file is cut off, or of another kind.

    """
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise EncoderError(f"{path}: cannot be read as weights: {first_line(error)}") from error


def load_weights(network: torch.nn.Module, weights: Mapping[str, object], path: Path) -> None:
    """Fill a network with the weights of the checkpoint at `path`.

    Raises:
        EncoderError: Their names or shapes are not exactly the network's.

    """
    try:
        network.load_state_dict(weights)
    except Exception as error:  # wrong names and shapes, but also values that are not tensors
        reason = " ".join(str(error).split())
        reason = reason if len(reason) <= MAX_REASON else f"{reason[:MAX_REASON]} ..."
        raise EncoderError(f"{path}: not the weights of this network: {reason}") from error
