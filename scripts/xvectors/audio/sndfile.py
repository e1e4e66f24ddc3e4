"""Audio files that libsndfile reads: PCM and its like in many formats, FLAC, Ogg, MP3."""

import io
import os
from typing import BinaryIO

import numpy
import soundfile

from xvectors.audio.byte_ranges import MAX_HELD_BYTES, is_open_ended
from xvectors.audio.files import DecoderFile
from xvectors.audio.lengths import StatedBytes
from xvectors.audio.recording import (
    BLOCK_NUMBERS,
    MAX_MISSING_SECONDS,
    UNKNOWN_FRAMES,
    Recording,
    Samples,
    join,
    mix,
)
from xvectors.errors import UtteranceError

# libsndfile takes four times as long to read 16-bit samples as float32. Multiplied here they are
# the same numbers.
PCM_16_UNIT = numpy.float32(2**-15)
# soundfile's exceptions for files that it cannot read. Raw ones, for instance, need a rate.
UNREADABLE = (soundfile.SoundFileError, TypeError, ValueError)
# Their samples have the same number of bytes each.
UNCOMPRESSED = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}


class SndfileRecording(Recording):
    """A file that libsndfile reads."""

    def __init__(self, path: str, file: BinaryIO, stated: StatedBytes | None = None) -> None:
        """Open a file, which this closes. Messages name its path.

        `stated` are its bytes of sound, where its header states them.

        Raises:
            SoundFileError, TypeError, ValueError: libsndfile does not read it.

        """
        self.path = path
        # libsndfile takes a descriptor's position for the beginning of the file.
        file.seek(0)
        self._raw, self._copy = file, _copy_to_memory(file)
        source = self._copy or file
        self._decoder_file = None if isinstance(source, io.FileIO) else DecoderFile(source)
        try:
            self._file = _Forwards(self._decoder_file or source.fileno(), closefd=False)
        except UNREADABLE as error:
            if self._copy:
                self._copy.close()
            self._raise_input_error()
            _check_memory(path, error)
            raise
        self.rate, self.n_samples = int(self._file.samplerate), int(self._file.frames)
        # Each of them is a call of libsndfile's.
        form, subtype = self._file.format, self._file.subtype
        self._is_pcm_16 = subtype == "PCM_16"
        # After a seek, Opus never gives the samples that it gives when read from the beginning.
        self.is_forward_only = form == "MP3" or subtype == "OPUS"
        # A decoder that reads on, or searches, would meet what follows in the archive.
        self.is_forward_only |= is_open_ended(file)
        # FLAC's decoder takes a tag behind the last frame for damage if it reads on.
        stops = is_open_ended(file) or form == "FLAC"
        self._rest = self.n_samples if stops and self.n_samples < UNKNOWN_FRAMES else None
        self.problem = self._missing(stated) if stated else None
        has_length = stated is not None and stated.stated is not None and not stated.missing_part
        self.is_length_certain = has_length and subtype in UNCOMPRESSED

    def _missing(self, stated: StatedBytes) -> str | None:
        """Return a problem if the header states more sound than there is."""
        if stated.missing_part == 1:
            return f"cut off: {self.path} ends before its first sample"
        missing = self.seconds * stated.missing_part / (1 - stated.missing_part)
        if missing > MAX_MISSING_SECONDS:
            return f"cut off: {self.path} ends {missing:.4f} s too early"
        return None

    def read(self, n_samples: int) -> Samples:
        """Return the next samples."""
        if self._rest is not None:
            n_samples = min(n_samples, self._rest)
        parts = []
        block = max(BLOCK_NUMBERS // self._file.channels, 1)
        for start in range(0, n_samples, block):
            wanted = min(block, n_samples - start)
            samples = self._read_block(wanted)
            parts.append(mix(samples, self.channels))
            if self._rest is not None:
                self._rest -= len(samples)
            if len(samples) < wanted:
                break
        return join(parts)

    def _read_block(self, n_samples: int) -> Samples:
        """Return the next samples of all channels, (samples, channels)."""
        dtype = "int16" if self._is_pcm_16 else "float32"
        try:
            samples: Samples = self._file.read(n_samples, dtype=dtype, always_2d=True)
        except UNREADABLE as error:
            self._raise_input_error()
            _check_memory(self.path, error)
            raise not_audio(self.path, error) from error
        self._raise_input_error()
        return samples * PCM_16_UNIT if self._is_pcm_16 else samples

    def _raise_input_error(self) -> None:
        if self._decoder_file and self._decoder_file.error:
            raise self._decoder_file.error

    def go_to(self, sample: int) -> None:
        """Go to a sample from the beginning of the file, exactly."""
        if self.is_forward_only or not self._file.can_jump():
            super().go_to(sample)
            return
        try:
            self._file.seek(sample)
            if self._rest is not None:
                self._rest = self.n_samples - sample
        except UNREADABLE as error:
            self._raise_input_error()
            raise not_audio(self.path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._copy:
            self._copy.close()
        self._raw.close()


def _copy_to_memory(file: BinaryIO) -> io.FileIO | None:
    """Return a file of the system's, in memory, with the content of a short one of Python's.

    From another one, libsndfile reads by calling Python, where threads wait for each other.
    """
    if not isinstance(file, io.BytesIO) or not hasattr(os, "memfd_create"):
        return None
    with file.getbuffer() as content:
        if len(content) > MAX_HELD_BYTES:
            return None
        try:
            copy = io.FileIO(os.memfd_create("audio"), "r+")
        except OSError:  # Not for everybody: the system may forbid such files.
            return None
        copy.write(content)
    copy.seek(0)
    return copy


def not_audio(path: str, error: Exception) -> UtteranceError:
    """Return the error for a file that libsndfile does not read."""
    reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
    return UtteranceError(f"not audio: {path}: {reason}")


def _check_memory(path: str, error: Exception) -> None:
    """Raise MemoryError if libsndfile found none."""
    if "malloc" in str(error):
        raise MemoryError(path) from error


class _Forwards(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read forwards.

    soundfile seeks after every read of a seekable file, to where it is already. Streamed FLAC
    without a stated length cannot seek. An MP3 decoder forgets earlier frames when it seeks:
    it drops a frame that needs them, and all that follows is shifted.
    """

    def seekable(self) -> bool:
        """Return False for every file."""
        return False

    def can_jump(self) -> bool:
        """Tell whether the file is seekable."""
        return bool(super().seekable())
