"""The tally of a shard job: the outcomes of its utterances."""

from dataclasses import dataclass, field

from xvectors.audio.signal import Decoded
from xvectors.audio.versions import AudioVersion
from xvectors.errors import UtteranceError
from xvectors.sharding.index_shards import IndexShard
from xvectors.sharding.markers import Failure
from xvectors.tasks.incremental import failure_reason
from xvectors.tasks.runner import Outcome

# This many unexpected failures before the first success are a defect of the task.
MAX_FAILURES_AT_FIRST = 10
# Durations that differ by no more count as equal.
ROUNDING_SECONDS = 0.001
# A stated duration is worth a warning if it differs by more than both.
NOTABLE_SECONDS = 0.1
NOTABLE_PART = 0.01


@dataclass
class Tally:
    """The work of a job on the utterances of `shard`.

    `failures` and `decoded`, the facts about the audio of all embedded utterances, are by the
    utterances' rows in the shard.
    """

    shard: IndexShard
    device: str = "none"
    startup_seconds: float = 0.0
    wall_seconds: float = 0.0
    audio_seconds: float = 0.0
    n_written: int = 0
    n_skipped: int = 0
    n_unexpected: int = 0
    failures: dict[int, Failure] = field(default_factory=dict)
    decoded: dict[int, Decoded] = field(default_factory=dict)

    def count(
        self, row: int, outcome: Outcome | BaseException, audio: AudioVersion | None = None
    ) -> None:
        """Count the outcome of the utterance in a row, or the exception that it met.

        An error in one utterance fails only that utterance. `audio` is the version of its audio
        file.
        """
        shard = self.shard
        if isinstance(outcome, BaseException):
            outcome = {"status": "failed", "reason": self._reason(outcome)}
        if outcome["status"] == "failed":
            reason = outcome["reason"]
            self.failures[row] = Failure(shard.utt_ids[row], shard.wav_paths[row], reason, audio)
        elif outcome["status"] == "skipped":
            self.n_skipped += 1
        else:
            self.n_written += 1
            seconds = shard.seconds[row]
            if "decoded" in outcome:
                self.decoded[row] = outcome["decoded"]
                seconds = outcome["decoded"].seconds
            self.audio_seconds += seconds

    def _reason(self, error: BaseException) -> str:
        """Return why an utterance failed; raise an error of the machine or of the task."""
        if not isinstance(error, UtteranceError):
            self.n_unexpected += 1
        n_good = self.n_written + self.n_skipped
        if n_good == 0 and self.n_unexpected > MAX_FAILURES_AT_FIRST:
            raise error
        return failure_reason(error)

    @property
    def n_silent(self) -> int:
        """The number of embedded utterances that are silent."""
        return sum(decoded.is_silent for decoded in self.decoded.values())

    def differing_seconds(self) -> dict[str, float]:
        """Return the decoded durations that are not the listed ones, by utt_id."""
        return {
            self.shard.utt_ids[row]: round(decoded.seconds, 6)
            for row, decoded in sorted(self.decoded.items())
            if abs(decoded.seconds - self.shard.seconds[row]) > ROUNDING_SECONDS
        }

    def seconds_of_speech(self) -> dict[str, float]:
        """Return the durations of the speech that a detector has found, by utt_id."""
        return {
            self.shard.utt_ids[row]: round(decoded.speech_seconds, 6)
            for row, decoded in sorted(self.decoded.items())
            if decoded.speech_seconds is not None
        }

    def wrongly_stated(self) -> list[int]:
        """Return the rows whose duration is stated, and clearly another than the decoded one."""
        return [
            row
            for row, decoded in sorted(self.decoded.items())
            if (stated := self.shard.seconds[row])
            and abs(decoded.seconds - stated) > max(NOTABLE_SECONDS, NOTABLE_PART * decoded.seconds)
        ]
