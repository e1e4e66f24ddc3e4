"""The limits of utterances' durations. Those beyond them are excluded."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xvectors.config.settings import Settings


class Limits(NamedTuple):
    """The shortest and the longest utterances that are embedded, in seconds; None for no limit."""

    min_seconds: float | None = None
    max_seconds: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Return the limits of the settings."""
        return cls(settings.xvector.min_seconds, settings.xvector.max_seconds)

    def __bool__(self) -> bool:
        return self != NO_LIMITS

    def exclude(self, seconds: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which durations, shape (n,), are beyond a limit."""
        is_excluded = np.zeros(len(seconds), dtype=bool)
        if self.min_seconds is not None:
            is_excluded |= seconds < self.min_seconds
        if self.max_seconds is not None:
            is_excluded |= seconds > self.max_seconds
        return is_excluded


NO_LIMITS = Limits()
