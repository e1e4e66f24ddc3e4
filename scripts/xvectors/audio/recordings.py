"""Audio files that are opened: read forwards, mono, a few megabytes at a time."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy
import soundfile
from numpy.typing import NDArray

from xvectors.errors import UtteranceError

# What libsndfile reads, by its usual endings, and what FFmpeg reads of the rest, by its names.
AUDIO_SUFFIXES = {".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"}
AUDIO_SUFFIXES |= {".rf64", ".sph", ".w64", ".wav"}
FFMPEG_FORMATS = {".aac": "aac", ".m4a": "mp4", ".m4b": "mp4", ".mp4": "mp4"}
AUDIO_SUFFIXES |= FFMPEG_FORMATS.keys()

# What soundfile raises for files that it cannot read: raw ones, say, need a rate (TypeError).
UNREADABLE = (soundfile.SoundFileError, TypeError, ValueError)
# Streamed FLAC does not state its length; libsndfile then gives the largest number.
UNKNOWN_FRAMES = 2**62
# No recording of speech is beyond them: rates in Hz (studios go up to 768 kHz) and hours.
MAX_RATE = 768_000
MAX_HOURS = 12
SECONDS_PER_HOUR = 3600
# Samples of 16 bits are read as they are, as libsndfile takes four times as long to read them as
# float32, of which the largest is 1; both give the same numbers.
PCM_16_UNIT = numpy.float32(2**-15)
# Numbers that are decoded at a time, of all channels.
BLOCK_NUMBERS = 2**20

Samples = NDArray[numpy.float32]


class Recording(ABC):
    """An audio file at its beginning.

    Attributes:
        path: The file.
        rate: Its sampling rate in Hz.
        n_samples: Its length, as its header states it, or `UNKNOWN_FRAMES`.

    """

    path: str
    rate: int
    n_samples: int

    @abstractmethod
    def read(self, n_samples: int) -> Samples:
        """Return the next samples, (n_samples,), the mean of all channels; fewer at the end."""

    def go_to(self, sample: int) -> None:
        """Go to a sample from the beginning of the file, exactly."""
        while sample > 0:
            n_read = len(self.read(min(sample, BLOCK_NUMBERS)))
            if n_read == 0:
                return
            sample -= n_read

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> "Recording":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    @property
    def seconds(self) -> float:
        """The duration that the header states."""
        return self.n_samples / self.rate


def open_recording(path: str) -> Recording:
    """Open an audio file.

    Raises:
        UtteranceError: It is beyond what a recording of speech is, or needs a decoder that is
            not installed.
        SoundFileError, TypeError, ValueError, OSError: It cannot be read.

    """
    ffmpeg_format = FFMPEG_FORMATS.get(Path(path).suffix.lower())
    if ffmpeg_format is None:
        recording: Recording = _SndfileRecording(path)
    else:
        try:
            from xvectors.audio.ffmpeg_recording import FfmpegRecording  # noqa: PLC0415 - it is optional
        except ModuleNotFoundError as error:
            raise UtteranceError(f"needs a decoder: {path}: make m4a") from error
        recording = FfmpegRecording(path, ffmpeg_format)
    if not 0 < recording.rate <= MAX_RATE:
        recording.close()
        raise UtteranceError(f"not audio: {path}: a sampling rate of {recording.rate} Hz")
    return recording


class _SndfileRecording(Recording):
    """A file that libsndfile reads."""

    def __init__(self, path: str) -> None:
        """Open a file."""
        self.path = path
        self._file = _Forwards(path)
        self.rate, self.n_samples = int(self._file.samplerate), int(self._file.frames)
        self._is_pcm_16 = self._file.subtype == "PCM_16"

    def read(self, n_samples: int) -> Samples:
        """Return the next samples."""
        parts = []
        block = max(BLOCK_NUMBERS // self._file.channels, 1)
        for start in range(0, n_samples, block):
            wanted = min(block, n_samples - start)
            samples = self._read_block(wanted)
            parts.append(mix(samples))
            if len(samples) < wanted:
                break
        return join(parts)

    def _read_block(self, n_samples: int) -> Samples:
        """Return the next samples of all channels, (samples, channels)."""
        dtype = "int16" if self._is_pcm_16 else "float32"
        samples: Samples = self._file.read(n_samples, dtype=dtype, always_2d=True)
        return samples * PCM_16_UNIT if self._is_pcm_16 else samples

    def go_to(self, sample: int) -> None:
        """Go to a sample from the beginning of the file, exactly."""
        if self._file.format != "MP3" and self._file.can_jump():
            self._file.seek(sample)
        else:
            super().go_to(sample)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Forwards(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read forwards.

    Where a file is seekable, soundfile jumps to where it is anyway after every read, of which
    streamed FLAC without a stated length is not capable. And an MP3 frame may need earlier ones,
    which its decoder forgets at a jump: it drops the frame, and all that follows is shifted.
    """

    def seekable(self) -> bool:
        """Return False, whatever the file is."""
        return False

    def can_jump(self) -> bool:
        """Tell what `seekable` ought to."""
        return bool(super().seekable())


def mix(samples: NDArray[Any]) -> Samples:
    """Return the mean of the channels of samples, (samples, channels)."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    with numpy.errstate(all="ignore"):  # What is not finite is found later.
        return numpy.asarray(samples.mean(1, dtype=numpy.float32))


def join(parts: list[Samples]) -> Samples:
    """Return parts in a row, without a copy of a single one."""
    return parts[0] if len(parts) == 1 else numpy.concatenate([*parts, numpy.empty(0, "float32")])
