"""Progress of a job: a bar in a terminal, a line every 30 seconds in a log."""

import logging
import sys
import time

from tqdm import tqdm

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30


class Progress:
    """A count of utterances with the speed. Use it as a context manager around the work."""

    def __init__(self, name: str, n_utterances: int) -> None:
        """Start counting to `n_utterances`, shown under `name`."""
        self.name = name
        self.n_utterances = n_utterances
        self.n_done = 0
        self.started = self.last_line = time.monotonic()
        self.bar = tqdm(
            total=n_utterances, desc=name, unit="utt", leave=False, disable=not sys.stderr.isatty()
        )

    def count(self, audio_seconds: float) -> None:
        """Count one more utterance; `audio_seconds` is the total of embedded audio so far."""
        self.n_done += 1
        self.bar.update()
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            rate = speed(self.n_done, audio_seconds, self.wall_seconds)
            logger.info("%s: %d of %d, %s", self.name, self.n_done, self.n_utterances, rate)

    @property
    def wall_seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def __enter__(self) -> "Progress":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bar."""
        self.bar.close()


def speed(n_utterances: int, audio_seconds: float, wall_seconds: float) -> str:
    """Return utterances per second and seconds of audio per second, as a text."""
    wall_seconds = max(wall_seconds, 1e-9)
    return (
        f"{n_utterances / wall_seconds:.1f} utterances/s, "
        f"{audio_seconds / wall_seconds:.1f} x real time"
    )
