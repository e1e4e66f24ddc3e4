"""The tally of a shard job: what became of each utterance."""

import logging
from dataclasses import dataclass, field

from xvectors.errors import UtteranceError, XVectorsError, first_line, machine_problem
from xvectors.sharding.index_shards import IndexShard
from xvectors.sharding.markers import Failure
from xvectors.tasks.runner import Outcome

logger = logging.getLogger(__name__)

# So many unexpected failures without a single success are a defect of the task.
MAX_FAILURES_AT_FIRST = 10


@dataclass
class Tally:
    """What a job did; `failures` are by the utterances' rows in the shard."""

    device: str = "none"
    startup_seconds: float = 0.0
    wall_seconds: float = 0.0
    audio_seconds: float = 0.0
    n_written: int = 0
    n_skipped: int = 0
    n_unexpected: int = 0
    failures: dict[int, Failure] = field(default_factory=dict)


def count(shard: IndexShard, row: int, outcome: Outcome | BaseException, work: Tally) -> None:
    """Count what became of an utterance; what goes wrong with one costs only that one."""
    if isinstance(outcome, BaseException):
        outcome = {"status": "failed", "reason": reason_of(outcome, work)}
    if outcome["status"] == "failed":
        reason = outcome["reason"]
        work.failures[row] = Failure(shard.utt_ids[row], shard.wav_paths[row], reason)
    elif outcome["status"] == "skipped":
        work.n_skipped += 1
    else:
        work.n_written += 1
        work.audio_seconds += shard.seconds[row]


def reason_of(error: BaseException, work: Tally) -> str:
    """Return why an utterance failed; raise what says more of this machine or of the task."""
    if isinstance(error, UtteranceError):
        return str(error)
    if not isinstance(error, Exception) or isinstance(error, XVectorsError):
        raise error
    work.n_unexpected += 1
    n_good = work.n_written + work.n_skipped
    if machine_problem(error) or (n_good == 0 and work.n_unexpected > MAX_FAILURES_AT_FIRST):
        raise error
    logger.warning("unexpected", exc_info=error)
    return f"{type(error).__name__}: {first_line(error)}"
