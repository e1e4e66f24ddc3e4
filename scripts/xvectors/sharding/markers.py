"""Done-markers: the accounts of finished shard jobs."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from xvectors.audio.versions import AudioVersion
from xvectors.errors import ShardError
from xvectors.files.atomic import write_atomically
from xvectors.files.json_text import dump_checksummed, load_checksummed


@dataclass(frozen=True)
class Failure:
    """An utterance that could not be embedded, and why.

    `audio` is the version of its audio file at that time, None where there was none.
    """

    utt_id: str
    wav_path: str
    reason: str
    audio: AudioVersion | None = None


@dataclass(frozen=True)
class DoneMarker:
    """The account of a finished shard job.

    `n_written`, `audio_seconds` and `wall_seconds` (reading, embedding and writing) belong
    together: they count what this job embedded, not what was there before. `startup_seconds`
    are imports and loading. `encoder` is the encoder's fingerprint, `numerics` what else changes
    vectors. `outputs` is a hash of the versions of the embeddings, see `hash_versions`, and
    `storage` how they are kept. `members` is a hash of the shard's utterances, see `hash_members`,
    and `run` names the run that the job belonged to.

    `n_silent` counts all silent utterances that are embedded, `n_misstated` those whose duration
    the manifest or a header states wrongly. `seconds` are the decoded durations, by utt_id, of
    those that the index shard lists with another one. `speech_seconds` are those of the speech, if
    a detector has looked for it.
    """

    n_utterances: int
    n_written: int
    n_skipped: int
    n_failed: int
    audio_seconds: float
    startup_seconds: float
    wall_seconds: float
    device: str
    precision: str
    encoder: str | None
    numerics: dict[str, Any]
    outputs: str | None = None
    failures: list[Failure] = field(default_factory=list)
    storage: str = "files"
    members: str = ""
    run: str = ""
    n_silent: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    n_misstated: int = 0
    speech_seconds: dict[str, float] = field(default_factory=dict)


def write_marker(path: Path, marker: DoneMarker) -> None:
    """Write a done-marker."""
    write_atomically(path, dump_checksummed(asdict(marker), indent=2))


def read_marker(path: Path) -> DoneMarker:
    """Read a done-marker.

    Raises:
        ShardError: The file is missing or damaged.

    """
    try:
        content = load_checksummed(path.read_bytes())
        content["failures"] = [_read_failure(**failure) for failure in content["failures"]]
        return DoneMarker(**content)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ShardError(f"{path}: not a done-marker. Rerun the same command") from error


def write_last_work(path: Path, marker: DoneMarker) -> None:
    """Store the account of a job that embedded something, without its facts about utterances.

    Snakemake removes a marker before its job runs again.
    """
    write_marker(path, replace(marker, failures=[], seconds={}, speech_seconds={}))


def read_last_work(path: Path, marker: DoneMarker) -> DoneMarker:
    """Return the account of a shard's last job that embedded something.

    `marker` is the shard's. It is returned if it is that account, or if `write_last_work` has
    written none at `path`.

    Raises:
        ShardError: The file is damaged.

    """
    if marker.n_written or not path.exists():
        return marker
    try:
        return read_marker(path)
    except ShardError as error:
        raise ShardError(f"{path}: damaged. Delete it and rerun the same command") from error


def _read_failure(audio: list[int] | None = None, **failure: str) -> Failure:
    return Failure(**failure, audio=AudioVersion(*audio) if audio else None)
