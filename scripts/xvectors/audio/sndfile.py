"""Audio files that libsndfile reads."""

import numpy
import soundfile

from xvectors.audio.recording import BLOCK_NUMBERS, Recording, Samples, join, mix

# Samples of 16 bits are read as they are, as libsndfile takes four times as long to read them as
# float32, of which the largest is 1; both give the same numbers.
PCM_16_UNIT = numpy.float32(2**-15)


class SndfileRecording(Recording):
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
