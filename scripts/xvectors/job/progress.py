"""Progress of a job: a file for the run's progress line, a line every 30 seconds in the log."""

import logging
import time
from pathlib import Path

from xvectors.job.tally import Tally
from xvectors.sharding.shard_progress import ShardProgress, write_progress

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30
SECONDS_BETWEEN_FILES = 1


class Progress:
    """A count of a shard's utterances. Use it as a context manager around the work."""

    def __init__(self, path: Path, run: str, missing: list[int], tally: Tally) -> None:
        """Start with what earlier runs have done.

        `path` is the file for the progress line of `run`, to which the job belongs; `missing` are
        the rows of the utterances that are to be embedded.
        """
        self.tally = tally
        self.path = path
        self.run = run
        # Where no duration is known, every utterance counts the same.
        seconds = tally.shard.seconds
        self._weights = seconds if any(seconds) else [1.0] * len(seconds)
        self._n_missing = self._n_undone = len(missing)
        self._undone = sum(self._weights[row] for row in missing)
        self.started = self.last_line = time.monotonic()
        self.write()

    def count(self, row: int) -> None:
        """Count the utterance in a row."""
        self._n_undone -= 1
        self._undone -= self._weights[row]
        now = time.monotonic()
        if now - self.last_file >= SECONDS_BETWEEN_FILES:
            self.write()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            n_counted = self._n_missing - self._n_undone
            rate = speed(n_counted, self.tally.audio_seconds, self.wall_seconds)
            logger.info("%d of %d, %s", n_counted, self._n_missing, rate)

    def write(self) -> None:
        """Write the file for the run's progress line."""
        self.last_file = time.monotonic()
        progress = ShardProgress(
            run=self.run,
            n_done=len(self._weights) - self._n_undone,
            n_embedded=self.tally.n_written,
            n_failed=len(self.tally.failures),
            part=1 - self._undone / max(sum(self._weights), 1e-9),
            seconds=self.tally.audio_seconds,
        )
        write_progress(self.path, progress)

    @property
    def wall_seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def __enter__(self) -> "Progress":
        self.started = self.last_line = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.write()


def speed(n_utterances: int, audio_seconds: float, wall_seconds: float) -> str:
    """Return utterances per second and seconds of audio per second, as a text."""
    wall_seconds = max(wall_seconds, 1e-9)
    return (
        f"{n_utterances / wall_seconds:.1f} utterances/s, "
        f"{audio_seconds / wall_seconds:.1f} x real time"
    )
