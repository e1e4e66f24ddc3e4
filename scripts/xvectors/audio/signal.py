"""Signals and segments of recordings."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

# Below half of a 16-bit sample's unit.
SILENCE = 2**-16


class Segment(NamedTuple):
    """A part of a recording, in seconds from its beginning."""

    start: float
    end: float


class Signal(NamedTuple):
    """A mono signal.

    Attributes:
        samples: float32, shape (samples,).
        rate: Its rate in Hz.
        seconds: The duration that was decoded, None if the signal was not read from a file.

    """

    samples: "torch.Tensor"
    rate: int
    seconds: float | None = None

    @property
    def is_silent(self) -> bool:
        """Whether all samples are below the resolution of 16 bits."""
        return not len(self.samples) or bool(self.samples.abs().max() < SILENCE)
