"""The tally of a shard job: the outcomes of its utterances."""

from dataclasses import dataclass, field

from xvectors.audio.versions import AudioVersion
from xvectors.errors import UtteranceError
from xvectors.sharding.index_shards import IndexShard
from xvectors.sharding.markers import Failure
from xvectors.tasks.incremental import failure_reason
from xvectors.tasks.runner import Outcome

# So many unexpected failures without a single success are a defect of the task.
MAX_FAILURES_AT_FIRST = 10


@dataclass
class Tally:
    """The work of a job; `failures` are by the utterances' rows in the shard."""

    device: str = "none"
    startup_seconds: float = 0.0
    wall_seconds: float = 0.0
    audio_seconds: float = 0.0
    n_written: int = 0
    n_skipped: int = 0
    n_unexpected: int = 0
    failures: dict[int, Failure] = field(default_factory=dict)


def count(
    shard: IndexShard,
    row: int,
    outcome: Outcome | BaseException,
    tally: Tally,
    audio: AudioVersion | None = None,
) -> None:
    """Count the outcome of an utterance. An error of one utterance costs only that one.

    Args:
        shard: The index shard.
        row: The utterance's row in it.
        outcome: Its outcome, or the exception that it met.
        tally: The counts so far.
        audio: The version of its audio file, None where there is none.

    """
    if isinstance(outcome, BaseException):
        outcome = {"status": "failed", "reason": _reason(outcome, tally)}
    if outcome["status"] == "failed":
        reason = outcome["reason"]
        tally.failures[row] = Failure(shard.utt_ids[row], shard.wav_paths[row], reason, audio)
    elif outcome["status"] == "skipped":
        tally.n_skipped += 1
    else:
        tally.n_written += 1
        tally.audio_seconds += shard.seconds[row]


def _reason(error: BaseException, tally: Tally) -> str:
    """Return why an utterance failed; raise an error of the machine or of the task."""
    if not isinstance(error, UtteranceError):
        tally.n_unexpected += 1
    n_good = tally.n_written + tally.n_skipped
    if n_good == 0 and tally.n_unexpected > MAX_FAILURES_AT_FIRST:
        raise error
    return failure_reason(error)
