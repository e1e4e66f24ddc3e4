"""Checkpoints as data: tensors by name, and nothing that could run."""

from collections.abc import Mapping
from pathlib import Path

import torch

from xvectors.errors import EncoderError

MAX_REASON = 300


def read_checkpoint(path: Path) -> Mapping[str, object]:
    """Return what a file of `torch.save` holds; only tensors and plain containers are loaded.

    Raises:
        EncoderError: The file is cut off or no checkpoint, or there is code in its pickle.

    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged archive or pickle may raise
        raise EncoderError(
            f"{path}: cannot be read as weights ({type(error).__name__}): it is cut off, or no "
            "checkpoint, or holds objects besides tensors, which are refused as they may run code"
        ) from error
    if not isinstance(content, Mapping):
        raise EncoderError(f"{path}: holds a {type(content).__name__}, not weights by name")
    return content


def load_weights(network: torch.nn.Module, weights: Mapping[str, object], path: Path) -> None:
    """Fill a network with the weights of the checkpoint at `path`.

    Raises:
        EncoderError: They are not exactly the network's, in name and shape.

    """
    try:
        network.load_state_dict(weights)
    except Exception as error:  # wrong names and shapes, but also values that are no tensors
        reason = " ".join(str(error).split())
        reason = reason if len(reason) <= MAX_REASON else f"{reason[:MAX_REASON]} ..."
        raise EncoderError(f"{path}: not the weights of this network: {reason}") from error
