"""Progress of a shard job: a small file that the job replaces and the run's progress line reads."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from xvectors.errors import WriteError
from xvectors.files.atomic import write_atomically
from xvectors.files.json_text import canonical_json, parse_json


@dataclass(frozen=True)
class ShardProgress:
    """The progress of a shard job.

    Attributes:
        run: The name of the run that the job belongs to.
        n_done: Utterances that are embedded, now or before, or have failed.
        n_embedded: Utterances that this job has embedded.
        n_failed: Utterances that have failed.
        part: The part of the shard's audio that is done, from 0 to 1.
        seconds: Audio that this job has embedded.

    """

    run: str
    n_done: int
    n_embedded: int
    n_failed: int
    part: float
    seconds: float


def write_progress(path: Path, progress: ShardProgress) -> None:
    """Write how far a job is. Does nothing if the file cannot be written.

    The job itself will fail soon then, with a message that says more.
    """
    with suppress(WriteError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, canonical_json(asdict(progress)), durable=False)


def read_progress(path: Path) -> ShardProgress | None:
    """Return how far a job is, None if it has not begun or its file is damaged."""
    try:
        return ShardProgress(**parse_json(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
