"""Audio files that FFmpeg reads: MP4, AAC, WebM, WMA and others.

PyAV's wheel brings FFmpeg's libraries.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import av
import numpy
from numpy.typing import NDArray

from xvectors.audio.files import DecoderFile
from xvectors.audio.recording import UNKNOWN_FRAMES, Recording, Samples, join, mix
from xvectors.errors import UtteranceError, first_line

# FFmpeg's names of the supported formats. Others may refer to further files or to the network
# (playlists, concat), or hold no audio.
FORMATS = (
    "aac,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,flac,flv,gsm,ircam,matroska,mov,mp3,mpeg,mpegts,"
    "nistsphere,ogg,rm,tak,tta,voc,w64,wav,webm,wv"
)
# Formats whose headers state the length of each track, or of the file.
WITH_LENGTH = {"asf", "matroska", "mov", "ogg", "wav", "caf", "flac", "wv", "tta", "ape"}
READ_BYTES = 2**16

SCALES: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "u8": lambda samples: (samples.astype(numpy.float32) - 128) * numpy.float32(2**-7),
    "s16": lambda samples: samples * numpy.float32(2**-15),
    "s32": lambda samples: samples.astype(numpy.float32) * numpy.float32(2**-31),
    "flt": lambda samples: samples,
    "dbl": lambda samples: samples.astype(numpy.float32),
}


class FfmpegRecording(Recording):
    """The first audio track of a file that FFmpeg reads."""

    def __init__(
        self, path: str, file: BinaryIO, *, is_chained: bool = False, skips_errors: bool = False
    ) -> None:
        """Open a file, which this closes. Messages name its path.

        `is_chained` tells that it is several streams one after the other, whose times restart,
        `skips_errors` that packets which cannot be decoded are tags between frames, all of which
        are known to be there.
        """
        self.path = path
        self._raw = file
        self._skips_errors = skips_errors
        file.seek(0)
        self._file = DecoderFile(file)
        with self._errors("not audio"):
            self._container = av.open(
                self._file,
                options={"format_whitelist": FORMATS},
                metadata_errors="replace",
                buffer_size=READ_BYTES,
            )
        try:
            with self._errors("not audio"):
                self._open_track(is_chained=is_chained)
        except BaseException:
            self._container.close()
            raise

    def _open_track(self, *, is_chained: bool) -> None:
        names = set(self._container.format.name.split(","))
        if not self._container.streams.audio:
            raise UtteranceError(f"not audio: {self.path}: it has no audio track")
        track = self._container.streams.audio[0]
        if track.codec_context is None:
            raise UtteranceError(f"not audio: {self.path}: no decoder for its audio track")
        track.codec_context.thread_count = 1
        self._track = track
        self._is_pcm = track.codec_context.name.startswith("pcm_")
        self.rate, self._n_channels = 0, 0
        self._blocks = self._decode()
        self._rest = next(self._blocks, numpy.empty((0, 1), numpy.float32))
        self.rate = self.rate or int(track.rate or 0)
        seconds = self._stated_seconds() if names & WITH_LENGTH and not is_chained else None
        self.n_samples = round(seconds * self.rate) if seconds else UNKNOWN_FRAMES

    def _stated_seconds(self) -> float | None:
        if self._track.duration and self._track.time_base:
            return float(self._track.duration * self._track.time_base)
        # The file's own length is that of its longest track.
        if self._container.duration and len(self._container.streams) == 1:
            return float(self._container.duration / av.time_base)
        return None

    def _decode(self) -> Iterator[Samples]:
        """Yield blocks of samples, (samples, channels), from the container's position."""
        for packet in self._container.demux(self._track):
            # A last block of PCM may be a smaller one.
            if packet.is_corrupt and not self._is_pcm:
                raise UtteranceError(f"damaged: {self.path}: a packet is incomplete")
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                if not self._skips_errors:
                    raise
                continue
            for frame in frames:
                yield self._samples(frame)

    def _samples(self, frame: av.AudioFrame) -> Samples:
        n_channels = frame.layout.nb_channels
        if not self.rate:
            self.rate, self._n_channels = frame.sample_rate, n_channels
        if (frame.sample_rate, n_channels) != (self.rate, self._n_channels):
            raise UtteranceError(f"not read: {self.path} changes its rate or channels")
        kind = frame.format.name.removesuffix("p")
        samples = SCALES[kind](frame.to_ndarray())
        if frame.format.is_planar:
            return samples.T
        return samples.reshape(-1, n_channels)

    def read(self, n_samples: int) -> Samples:
        """Return the next samples."""
        parts, missing = [], n_samples
        with self._errors("damaged"):
            while missing > 0 and len(self._rest):
                parts.append(mix(self._rest[:missing], self.channels))
                self._rest = self._rest[missing:]
                missing -= len(parts[-1])
                if len(self._rest) == 0:
                    self._rest = next(self._blocks, self._rest)
        return join(parts)

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        self._raw.close()

    @contextmanager
    def _errors(self, kind: str) -> Iterator[None]:
        """Turn FFmpeg's errors into UtteranceErrors, except those of the machine."""
        try:
            yield
        except (av.error.FFmpegError, ValueError, KeyError, UtteranceError) as error:
            self._raise_input_error()
            # FFmpeg has its own uses for the numbers of system errors, such as EIO.
            if isinstance(error, UtteranceError | MemoryError):
                raise
            reason = getattr(error, "strerror", None) or first_line(error)
            raise UtteranceError(f"{kind}: {self.path}: {reason}") from error
        self._raise_input_error()

    def _raise_input_error(self) -> None:
        if self._file.error:
            raise self._file.error
