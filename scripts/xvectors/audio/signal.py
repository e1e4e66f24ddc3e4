"""Signals and segments of recordings."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

# The unit of 16-bit samples. Channels of opposite sign may leave half of it after rounding.
SILENCE = 2**-15


class Segment(NamedTuple):
    """A part of a recording, in seconds from its beginning."""

    start: float
    end: float


class Decoded(NamedTuple):
    """The facts about audio that only decoding tells.

    Attributes:
        seconds: The duration that was decoded.
        is_silent: Whether all samples, after mixing, are below the resolution of 16 bits.
        speech_seconds: The duration of the speech, None if no detector has looked for it.

    """

    seconds: float
    is_silent: bool = False
    speech_seconds: float | None = None


class Signal(NamedTuple):
    """A mono signal.

    Attributes:
        samples: float32, shape (samples,).
        rate: Its rate in Hz.
        decoded: Facts about the audio as it was decoded, before an encoder prepared it; None if
            the signal was not read from a file.

    """

    samples: "torch.Tensor"
    rate: int
    decoded: Decoded | None = None


def is_silent(samples: "torch.Tensor") -> bool:
    """Tell whether all samples are below the resolution of 16 bits."""
    return not len(samples) or bool(samples.abs().max() < SILENCE)
