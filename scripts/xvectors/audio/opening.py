"""Opening audio files: which reader for which file, and how long they are."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile

from xvectors.audio.recording import PIECE_SECONDS, UNKNOWN_FRAMES, Recording
from xvectors.audio.sndfile import SndfileRecording
from xvectors.audio.versions import check_audio
from xvectors.errors import UtteranceError

# What libsndfile reads, by its usual endings, and what FFmpeg reads of the rest, by its names.
AUDIO_SUFFIXES = {".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"}
AUDIO_SUFFIXES |= {".rf64", ".sph", ".w64", ".wav"}
FFMPEG_FORMATS = {".aac": "aac", ".m4a": "mp4", ".m4b": "mp4", ".mp4": "mp4"}
AUDIO_SUFFIXES |= FFMPEG_FORMATS.keys()
# What soundfile raises for files that it cannot read: raw ones, say, need a rate (TypeError).
UNREADABLE = (soundfile.SoundFileError, TypeError, ValueError)
# No recording of speech is beyond them: rates in Hz (studios go up to 768 kHz) and hours.
MAX_RATE = 768_000


def open_recording(path: str) -> Recording:
    """Open an audio file.

    Raises:
        UtteranceError: It is beyond what a recording of speech is, or needs a decoder that is
            not installed.
        SoundFileError, TypeError, ValueError, OSError: It cannot be read.

    """
    ffmpeg_format = FFMPEG_FORMATS.get(Path(path).suffix.lower())
    if ffmpeg_format is None:
        recording: Recording = SndfileRecording(path)
    else:
        try:
            from xvectors.audio.ffmpeg import FfmpegRecording  # noqa: PLC0415 - it is optional
        except ModuleNotFoundError as error:
            raise UtteranceError(f"needs a decoder: {path}: make m4a") from error
        recording = FfmpegRecording(path, ffmpeg_format)
    if not 0 < recording.rate <= MAX_RATE:
        recording.close()
        raise UtteranceError(f"not audio: {path}: a sampling rate of {recording.rate} Hz")
    return recording


HEADER_READERS = 16


def durations(paths: list[str]) -> list[float]:
    """Return the files' seconds, by their headers, 0 for a file that cannot be read."""
    with ThreadPoolExecutor(HEADER_READERS) as readers:
        return list(readers.map(_duration, paths, chunksize=64))


def _duration(path: str) -> float:
    try:
        check_audio(path)
        with open_recording(path) as recording:
            if recording.n_samples < UNKNOWN_FRAMES:
                return recording.seconds
            n_samples = 0
            while read := len(recording.read(PIECE_SECONDS * recording.rate)):
                n_samples += read
            return n_samples / recording.rate
    except (OSError, UtteranceError, *UNREADABLE):
        return 0.0
