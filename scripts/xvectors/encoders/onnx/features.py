"""The input of ONNX graphs: filter banks, mel spectrograms, or the samples themselves."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional
from torchaudio.compliance import kaldi

from xvectors.config.settings import Frontend
from xvectors.encoders.mels import Mels, chunks

FRAME_SECONDS, HOP_SECONDS = 0.025, 0.01
INT16_UNIT = 2**15
# NeMo's constants: pre-emphasis, the logarithm of silence, the smallest deviation, and the
# multiple to which frames are padded.
PRE_EMPHASIS = 0.97
LOG_GUARD = 2**-24
MIN_DEVIATION = 1e-5
PAD_TO = 16


class Features(NamedTuple):
    """The input of a graph for one signal.

    Attributes:
        values: Frames, (frames, bins), or samples, (samples,).
        length: The number of them that are not padding.

    """

    values: torch.Tensor
    length: int


Extractor = Callable[[torch.Tensor], Features]


def make_extractor(frontend: Frontend, device: torch.device) -> Extractor:
    """Return a function that computes the features of a signal, (samples,), on a device.

    It raises ValueError for a signal without a frame.
    """
    extract: Extractor
    if frontend.features == "nemo":
        extract = _NemoMels(frontend, device)
    elif frontend.features == "raw":
        extract = _as_it_is
    else:
        extract = _KaldiFbank(frontend)
    # A long signal is not copied without need.
    return extract if frontend.normalize_samples else lambda signal: extract(signal * INT16_UNIT)


class _KaldiFbank:
    """Kaldi's logarithmic filter bank, as ``torchaudio.compliance.kaldi.fbank`` computes it.

    Without dither and energy, from 20 Hz up, and only of frames that lie within the signal.
    """

    def __init__(self, frontend: Frontend) -> None:
        self.frontend = frontend
        self.window = int(frontend.sample_rate * FRAME_SECONDS)
        self.hop = int(frontend.sample_rate * HOP_SECONDS)

    def __call__(self, signal: torch.Tensor) -> Features:
        n_frames = 1 + (len(signal) - self.window) // self.hop
        if n_frames < 1:
            raise ValueError("the signal is shorter than a frame")
        # Frames are independent of each other, so a long signal needs no more memory.
        samples = chunks(signal, n_frames, self.hop, self.window)
        values = torch.cat([self._fbank(some) for some in samples])
        if self.frontend.subtract_mean:
            values = values - values.mean(0)
        return Features(values, n_frames)

    def _fbank(self, signal: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = kaldi.fbank(
            signal[None],
            num_mel_bins=self.frontend.mel_bins,
            sample_frequency=self.frontend.sample_rate,
            window_type=self.frontend.window,
            dither=0.0,
        )
        return found


class _NemoMels:
    """NeMo's ``AudioToMelSpectrogramPreprocessor`` with its defaults, as for inference.

    Every band has mean 0 and deviation 1 over the utterance. As in NeMo today, a last frame
    that is centred on the signal's end counts as padding.
    """

    def __init__(self, frontend: Frontend, device: torch.device) -> None:
        rate = frontend.sample_rate
        self.hop = int(rate * HOP_SECONDS)
        window = torch.hann_window(int(rate * FRAME_SECONDS), periodic=False)
        n_fft = 2 ** math.ceil(math.log2(len(window)))
        self.mels = Mels(rate, frontend.mel_bins, self.hop, n_fft, window).to(device)

    def __call__(self, signal: torch.Tensor) -> Features:
        n_frames = len(signal) // self.hop
        if n_frames < 1:
            raise ValueError("the signal is shorter than a frame")
        emphasized = torch.cat([signal[:1], signal[1:] - PRE_EMPHASIS * signal[:-1]])
        values = (self.mels(emphasized, n_frames) + LOG_GUARD).log()
        deviation = values.std(0) if n_frames > 1 else torch.zeros_like(values[0])
        values = (values - values.mean(0)) / (deviation + MIN_DEVIATION)
        # NeMo counts the frame at the end among those that it pads.
        n_padded = -(-(n_frames + 1) // PAD_TO) * PAD_TO
        return Features(functional.pad(values, (0, 0, 0, n_padded - n_frames)), n_frames)


def _as_it_is(signal: torch.Tensor) -> Features:
    return Features(signal, len(signal))
