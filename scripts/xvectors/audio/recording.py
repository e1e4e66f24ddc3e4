"""Audio files that are opened: read forwards, mono, a few megabytes at a time."""

from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy
from numpy.typing import NDArray

from xvectors.errors import UtteranceError

# Streamed FLAC does not state its length; libsndfile then gives the largest number.
UNKNOWN_FRAMES = 2**62
MAX_HOURS = 12
SECONDS_PER_HOUR = 3600
# Numbers that are decoded at a time, of all channels.
BLOCK_NUMBERS = 2**20
# How much may be missing of what a header states, because times in it are rounded.
MAX_MISSING_SECONDS = 0.1
# A longer file is decoded and resampled in pieces, so that an hour of 48 kHz stereo fits into
# memory.
PIECE_SECONDS = 60
Samples = NDArray[numpy.float32]
# How several channels become one.
Channels = Literal["mean", "first"]


class Recording(ABC):
    """An audio file at its beginning.

    Attributes:
        path: The file.
        rate: Its sampling rate in Hz.
        n_samples: Its length, as its header states it, or `UNKNOWN_FRAMES`.
        problem: Why it is not whole, as far as that is known before it is read.
        is_forward_only: Whether samples depend on all samples before them, so that a segment is
            only reached by decoding what is before it.
        is_length_certain: Whether `n_samples` follows from the size of the file.
        channels: What `read` takes of several channels: their mean, or the first.

    """

    path: str
    rate: int
    n_samples: int
    problem: str | None = None
    is_forward_only: bool = True
    is_length_certain: bool = False
    channels: Channels = "mean"

    @abstractmethod
    def read(self, n_samples: int) -> Samples:
        """Return the next samples, (n_samples,), of all channels as one; fewer at the end."""

    def go_to(self, sample: int) -> None:
        """Go to a sample from the beginning of the file, exactly."""
        while sample > 0:
            n_read = len(self.read(min(sample, BLOCK_NUMBERS)))
            if n_read == 0:
                return
            sample -= n_read

    def count_rest(self) -> int:
        """Return the number of samples that are left, by decoding them."""
        n_samples = 0
        while n_read := len(self.read(PIECE_SECONDS * self.rate)):
            n_samples += n_read
        return n_samples

    def check_whole(self) -> None:
        """Raise UtteranceError if the file is known to be cut off before it is read."""
        if self.problem:
            raise UtteranceError(self.problem)

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """The duration that the header states."""
        return self.n_samples / self.rate


def mix(samples: NDArray[Any], channels: Channels = "mean") -> Samples:
    """Return the mean of the channels of samples, (samples, channels), or the first of them."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    if channels == "first":
        return samples[:, 0].copy()
    with numpy.errstate(all="ignore"):  # What is not finite is found later.
        return numpy.asarray(samples.mean(1, dtype=numpy.float32))


def join(parts: list[Samples]) -> Samples:
    """Return parts joined in a row; a single one is not copied."""
    return parts[0] if len(parts) == 1 else numpy.concatenate([*parts, numpy.empty(0, "float32")])
