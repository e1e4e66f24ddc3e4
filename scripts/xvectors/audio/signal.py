"""Signals and segments of recordings."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class Segment(NamedTuple):
    """A part of a recording, in seconds from its beginning."""

    start: float
    end: float


class Signal(NamedTuple):
    """A signal, float32, shape (samples,), and its rate in Hz."""

    samples: "torch.Tensor"
    rate: int
