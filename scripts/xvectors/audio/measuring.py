"""Durations of recordings that do not depend on what headers state."""

from concurrent.futures import ThreadPoolExecutor

from xvectors.audio.many_files import HEADER_READERS
from xvectors.audio.opening import open_recording
from xvectors.audio.recording import MAX_MISSING_SECONDS, UNKNOWN_FRAMES, Recording
from xvectors.audio.versions import check_audio
from xvectors.errors import UtteranceError


def measure(paths: list[str]) -> list[float | None]:
    """Return the files' seconds, None for a file that cannot be read as a whole.

    Files whose length in bytes gives their duration are not decoded. All others are.
    """
    with ThreadPoolExecutor(HEADER_READERS) as readers:
        return list(readers.map(_seconds, paths))


def _seconds(path: str) -> float | None:
    try:
        check_audio(path)
        with open_recording(path) as recording:
            recording.check_whole()
            return recording.seconds if recording.is_length_certain else _decoded(recording)
    except (OSError, UtteranceError):
        return None


def _decoded(recording: Recording) -> float | None:
    """Return the seconds that decoding gives, None if the file ends before its stated length."""
    n_samples = recording.count_rest()
    is_known = recording.n_samples < UNKNOWN_FRAMES
    missing = recording.n_samples - n_samples if is_known else 0
    is_whole = missing <= MAX_MISSING_SECONDS * recording.rate
    return n_samples / recording.rate if is_whole else None
