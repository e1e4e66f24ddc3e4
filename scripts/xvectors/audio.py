"""Audio files: their version, their length, and their signal as an encoder wants it."""

import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy
import soundfile

from xvectors.errors import UtteranceError, machine_problem
from xvectors.manifest import Stretch

if TYPE_CHECKING:
    import torch

# What libsndfile reads, by its usual endings.
AUDIO_SUFFIXES = {".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"}
AUDIO_SUFFIXES |= {".rf64", ".sph", ".w64", ".wav"}
HEADER_READERS = 16
# A longer file is decoded and resampled in pieces, so that an hour of 48 kHz stereo fits into
# memory. The margin is far wider than the resampler's filter (a few milliseconds).
PIECE_SECONDS = 60
MARGIN_SECONDS = 1

# What soundfile raises for files that it cannot read: raw ones, say, need a rate (TypeError).
UNREADABLE = (soundfile.SoundFileError, TypeError, ValueError)
# Streamed FLAC does not state its length; libsndfile then gives the largest number.
UNKNOWN_FRAMES = 2**62
# Times in segment lists are rounded: a stretch may end so much after its recording.
MAX_OVERSHOOT_SECONDS = 0.1

Normalize = Callable[["torch.Tensor", int], "torch.Tensor"]


class AudioVersion(NamedTuple):
    """What tells one version of an audio file from another: size in bytes, time in ns."""

    size: int
    mtime_ns: int


def audio_version(path: str) -> AudioVersion | None:
    """Return the version of the file at `path`, None when there is none that can be asked."""
    try:
        return check_audio(path)
    except UtteranceError:
        return None


def check_audio(path: str) -> AudioVersion:
    """Return the version of the file at `path`.

    Raises:
        UtteranceError: There is none, or it is a folder, a pipe or the like.

    """
    try:
        status = os.stat(path)  # noqa: PTH116 - a fifth of the cost of Path.stat
    except FileNotFoundError as error:
        raise UtteranceError(f"file missing: {path}") from error
    except OSError as error:
        raise UtteranceError(f"cannot be read: {path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise UtteranceError(f"not a file: {path}")
    return AudioVersion(status.st_size, status.st_mtime_ns)


def durations(paths: list[str]) -> list[float]:
    """Return the files' seconds, by their headers, 0 for a file that cannot be read."""
    with ThreadPoolExecutor(HEADER_READERS) as readers:
        return list(readers.map(_duration, paths, chunksize=64))


def _duration(path: str) -> float:
    try:
        check_audio(path)
        header = soundfile.info(path)
    except (OSError, UtteranceError, *UNREADABLE):
        return 0.0
    return float(header.duration) if header.frames < UNKNOWN_FRAMES else _decoded_duration(path)


def _decoded_duration(path: str) -> float:
    """Return the seconds of a file whose header does not state them, 0 if it cannot be read."""
    n_samples = 0
    try:
        with _Recording(path) as file:
            while read := len(file.read(PIECE_SECONDS * file.samplerate, dtype="float32")):
                n_samples += read
            return n_samples / float(file.samplerate)
    except UNREADABLE:
        return 0.0


def read_signal(
    path: str, sample_rate: int, normalize: Normalize, stretch: Stretch | None = None
) -> "torch.Tensor":
    """Decode a file, or a stretch of it, and bring it to an encoder's rate, mono.

    Args:
        path: Any file that libsndfile reads.
        sample_rate: The encoder's rate in Hz.
        normalize: Maps a float32 signal of shape (samples, channels) and its rate in Hz to a
            signal of shape (samples,) at `sample_rate`. It sees the signal as a whole, or, when
            that is longer than a minute, in overlapping pieces whose margins are cut off
            again, which gives the same samples for any normalization that looks no further
            than the margin.
        stretch: The part that is wanted, and which alone is decoded; None for all.

    Returns:
        A float32 tensor of shape (samples,).

    Raises:
        UtteranceError: The file is missing, not audio, without samples, or not finite, or it
            ends before the stretch does.

    """
    import torch  # noqa: PLC0415 - the rules that need no signal start without torch

    before = check_audio(path)
    try:
        with _Recording(path) as file:
            n_samples = _go_to(file, stretch) if stretch else file.frames
            if n_samples == 0:
                raise UtteranceError(f"zero samples: {path}")
            pieces = [
                _cut_margins(normalize(samples, file.samplerate), margins, sample_rate)
                for samples, margins in _pieces(file, n_samples)
            ]
    except UNREADABLE as error:
        _check_machine(path, error)
        raise UtteranceError(f"not audio: {path}: {_reason(error)}") from error
    if audio_version(path) != before:
        raise UtteranceError(f"changed while it was read: {path}")
    signal = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    if len(signal) == 0:
        raise UtteranceError(f"zero samples: {path}")
    if not bool(torch.isfinite(signal).all()):
        raise UtteranceError(f"not finite: {path} holds NaN or infinite samples")
    return signal


class _Recording(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read forwards.

    Where a file is seekable, soundfile jumps to where it is anyway after every read, of which
    streamed FLAC without a stated length is not capable. And an MP3 frame may need earlier ones,
    which its decoder forgets at a jump: it drops the frame, and all that follows is shifted.
    """

    def seekable(self) -> bool:
        """Return False, whatever the file is."""
        return False

    def go_to(self, sample: int) -> None:
        """Go to a sample from the beginning of the file, exactly."""
        if self.format != "MP3" and super().seekable():
            self.seek(sample)
            return
        step = PIECE_SECONDS * self.samplerate
        for start in range(0, sample, step):
            self.read(min(step, sample - start), dtype="float32")


class _Margins(NamedTuple):
    """Seconds of a piece that its neighbours cover: before it and after it."""

    before: int
    after: int


def _go_to(file: _Recording, stretch: Stretch) -> int:
    """Go to the beginning of a stretch, and return its number of samples.

    Raises:
        UtteranceError: The file ends before the stretch does, by more than rounding.

    """
    rate = int(file.samplerate)
    start, end = round(stretch.start * rate), round(stretch.end * rate)
    seconds = file.frames / rate
    if start >= file.frames or stretch.end > seconds + MAX_OVERSHOOT_SECONDS:
        raise UtteranceError(
            f"stretch beyond the end: {file.name} has {seconds:.4f} s, "
            f"not {stretch.start:g} to {stretch.end:g} s"
        )
    file.go_to(start)
    return min(end, int(file.frames)) - start


def _pieces(file: soundfile.SoundFile, n_samples: int) -> Iterator[tuple["torch.Tensor", _Margins]]:
    """Yield the next `n_samples` of a file, (samples, channels) float32, in overlapping pieces.

    Raises:
        UtteranceError: The file has fewer, though its header states its length.

    """
    import torch  # noqa: PLC0415

    piece, margin = PIECE_SECONDS * file.samplerate, MARGIN_SECONDS * file.samplerate
    samples = file.read(min(piece + margin, n_samples), dtype="float32", always_2d=True)
    n_read = len(samples)
    before = 0
    while len(samples) == before * file.samplerate + piece + margin:
        yield torch.from_numpy(samples), _Margins(before, MARGIN_SECONDS)
        more = file.read(min(piece, n_samples - n_read), dtype="float32", always_2d=True)
        n_read += len(more)
        samples = numpy.concatenate([samples[-2 * margin :], more])
        before = MARGIN_SECONDS
    yield torch.from_numpy(samples), _Margins(before, 0)
    missing = (n_samples - n_read) / file.samplerate
    if n_samples < UNKNOWN_FRAMES and missing > MAX_OVERSHOOT_SECONDS:
        raise UtteranceError(f"cut off: {file.name} ends {missing:.4f} s too early")


def _cut_margins(signal: "torch.Tensor", margins: _Margins, sample_rate: int) -> "torch.Tensor":
    """Return `signal` without its margins; pieces start at whole seconds, so none is halved."""
    end = None if margins.after == 0 else (margins.before + PIECE_SECONDS) * sample_rate
    return signal[margins.before * sample_rate : end]


def _check_machine(path: str, error: Exception) -> None:
    """Raise an exception if not the file is why libsndfile cannot read it, which does not tell.

    Raises:
        UtteranceError: The file cannot be opened.
        MemoryError: There is no memory.
        OSError: There are no more file handles.

    """
    if "malloc" in str(error):
        raise MemoryError(path) from error
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as reason:
        if machine_problem(reason):
            raise
        raise UtteranceError(f"cannot be read: {path}: {reason.strerror}") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
