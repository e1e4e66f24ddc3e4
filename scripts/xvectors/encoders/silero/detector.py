"""The detector that takes the pauses out of signals."""

from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import torch

from xvectors.audio.resampling import Normalizer
from xvectors.audio.signal import Signal
from xvectors.config.toolkits import require_packages
from xvectors.encoders.silero.network import SAMPLE_RATE, load_network
from xvectors.encoders.threads import one_thread
from xvectors.errors import UtteranceError

PACKAGE = "silero-vad"
MODEL = "silero_vad/data/silero_vad.jit"


class Part(NamedTuple):
    """A part of a signal, in samples."""

    start: int
    end: int


def model_path() -> Path:
    """Return the path of the model in its package."""
    return Path(str(distribution(PACKAGE).locate_file(MODEL)))


class SileroDetector:
    """Silero's detector of speech, with its package's settings.

    Speech begins at a probability of 0.5 and ends below 0.35 for at least 100 ms. It lasts more
    than 250 ms, and 30 ms around it belong to it. Several threads may call a detector at once.
    """

    def __init__(self) -> None:
        """Load the model of the package.

        Raises:
            EncoderError: The package is not installed, or its model is damaged.

        """
        require_packages("silero")
        # The package sets PyTorch's number of threads when it is imported.
        with one_thread():
            from silero_vad.utils_vad import get_speech_timestamps_from_probs  # noqa: PLC0415
        self._find_parts = get_speech_timestamps_from_probs
        self._network = load_network(model_path())
        self._normalizer = Normalizer(SAMPLE_RATE)

    def find(self, samples: torch.Tensor, rate: int) -> list[Part]:
        """Return the speech in a signal, float32, (samples,), at a rate in Hz."""
        heard = samples
        if rate != SAMPLE_RATE:
            heard = self._normalizer(samples[:, None], rate)
        # The LSTM's steps are too small for several threads.
        with torch.inference_mode(), one_thread():
            probabilities = self._network(heard).tolist()
        found = self._find_parts(probabilities, audio_length_samples=len(heard))
        scale = rate / SAMPLE_RATE
        return [Part(round(one["start"] * scale), round(one["end"] * scale)) for one in found]

    def keep_speech(self, signal: Signal, path: str) -> Signal:
        """Return the speech in a signal of the file at `path`, joined.

        Raises:
            UtteranceError: No speech was found.

        """
        parts = self.find(signal.samples, signal.rate)
        if not parts:
            raise UtteranceError(f"no speech: {path}")
        speech = torch.cat([signal.samples[part.start : part.end] for part in parts])
        decoded = signal.decoded
        if decoded is not None:
            decoded = decoded._replace(speech_seconds=len(speech) / signal.rate)
        return Signal(speech, signal.rate, decoded)
