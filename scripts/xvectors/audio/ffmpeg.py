"""AAC and ALAC, in MP4 files or bare: what FFmpeg reads and libsndfile does not.

PyAV (`make m4a`) brings a FFmpeg of its own.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import av
import numpy

from xvectors.audio.recording import UNKNOWN_FRAMES, Recording, Samples, join, mix
from xvectors.errors import UtteranceError, first_line, machine_problem


class _File(io.FileIO):
    """A file whose `seek` has an error code, as PyAV prints the traceback of an exception."""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place and return it, or a negative number."""
        try:
            return super().seek(offset, whence)
        except OSError as error:
            return -(error.errno or 1)


class FfmpegRecording(Recording):
    """A file that FFmpeg reads, its first track of sound."""

    def __init__(self, path: str, kind: str) -> None:
        """Open a file.

        Args:
            path: The file.
            kind: FFmpeg's name of its format; other formats, which may refer to further files
                or to the network, are refused.

        """
        self.path = path
        # Opened here, as FFmpeg would take a name such as concat:a.m4a for a command.
        try:
            self._file = _File(path)
        except OSError as error:
            if machine_problem(error):
                raise
            raise UtteranceError(f"cannot be read: {path}: {error.strerror}") from error
        try:
            with self._errors():
                self._container = av.open(self._file, format=kind)
                self._open_track(kind)
        except BaseException:
            self._file.close()
            raise

    def _open_track(self, kind: str) -> None:
        if not self._container.streams.audio:
            raise UtteranceError(f"not audio: {self.path}: it has no track of sound")
        track = self._container.streams.audio[0]
        # Floats whatever the codec gives, and an error if rate or channels change on the way.
        self._converter = av.AudioResampler(format="flt")
        self._blocks = self._decode(track)
        self._rest = next(self._blocks, numpy.empty(0, numpy.float32))
        self.rate = int(self._converter.rate or track.rate or 0)
        is_stated = kind == "mp4" and track.duration
        self.n_samples = (
            round(track.duration * track.time_base * self.rate) if is_stated else UNKNOWN_FRAMES
        )

    def _decode(self, track: "av.AudioStream") -> Iterator[Samples]:
        for frame in self._container.decode(track):
            for block in self._converter.resample(frame):
                n_channels = block.layout.nb_channels
                yield mix(block.to_ndarray().reshape(-1, n_channels))

    def read(self, n_samples: int) -> Samples:
        """Return the next samples."""
        parts, missing = [], n_samples
        with self._errors():
            while missing > 0 and len(self._rest):
                parts.append(self._rest[:missing])
                self._rest = self._rest[missing:]
                missing -= len(parts[-1])
                if len(self._rest) == 0:
                    self._rest = next(self._blocks, self._rest)
        return join(parts)

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        self._file.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if machine_problem(error):
                raise
            reason = getattr(error, "strerror", None) or first_line(error)
            raise UtteranceError(f"not audio: {self.path}: {reason}") from error
