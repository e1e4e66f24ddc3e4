"""Resemblyzer's encoder: the mean over windows of 1.6 s, each through an LSTM.

Wan, Wang, Papir, Lopez Moreno: "Generalized end-to-end loss for speaker verification", ICASSP
2018, in the form of the PyPI package Resemblyzer, whose code is not imported.
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from xvectors.audio.signal import Signal
from xvectors.encoders.batch_budget import BatchBudget
from xvectors.encoders.checkpoints import load_weights, weights_under
from xvectors.encoders.device import float32_products
from xvectors.encoders.encoder import Encoder
from xvectors.encoders.mels import Mels
from xvectors.encoders.resemblyzer.preprocessing import SAMPLE_RATE, SoxrNormalizer, preprocess
from xvectors.encoders.source import find_only
from xvectors.encoders.threads import one_thread

FFT_SAMPLES = 25 * SAMPLE_RATE // 1000
HOP_SAMPLES = 10 * SAMPLE_RATE // 1000
N_MELS = 40
DIM = 256
N_LAYERS = 3
WINDOW_FRAMES = 160
# Windows start 77 frames apart: 1.3 a second.
STEP_FRAMES = round(SAMPLE_RATE / 1.3 / HOP_SAMPLES)
# The last window is left out if less than this share of it is signal.
MIN_COVERAGE = 0.75
# Windows of a batch.
CPU_WINDOWS = 64
GPU_WINDOWS = 2048
# Weights of the training's loss.
UNUSED = ("similarity_weight", "similarity_bias")


class ResemblyzerEncoder(Encoder):
    """Resemblyzer's voice encoder.

    A file gets the embedding that the package's ``embed_utterance(preprocess_wav(file))`` gives. A
    file without speech gets the embedding of silence, as it does there.
    """

    sample_rate = SAMPLE_RATE
    min_samples = 1

    def __init__(self, source: Path, device: str, precision: str) -> None:
        """Load the checkpoint at `source`, a file or a folder with one ``.pt`` file."""
        super().__init__(device, precision)
        # On the CPU, so signals are resampled when they are read.
        self.normalizer = SoxrNormalizer(SAMPLE_RATE)
        self.network = _load_network(source).to(self.device)
        window = torch.hann_window(FFT_SAMPLES)
        self.mels = Mels(SAMPLE_RATE, N_MELS, HOP_SAMPLES, FFT_SAMPLES, window).to(self.device)
        n_windows = CPU_WINDOWS if self.device.type == "cpu" else GPU_WINDOWS
        self.budget = BatchBudget(n_windows, self.device)

    def prepare(self, signal: Signal) -> Signal:
        """Raise the level of a quiet signal and shorten its pauses."""
        return signal._replace(samples=torch.from_numpy(preprocess(signal.samples.numpy())))

    def embed_on_device(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone."""
        starts = [window_starts(len(signal)) for signal in signals]
        windows = []
        for signal, own in zip(signals, starts, strict=True):
            with float32_products():
                mels = self.mels(signal, own[-1] + WINDOW_FRAMES)
            windows += [mels[start : start + WINDOW_FRAMES] for start in own]
        found = torch.stack(self.budget.run(self._embed_windows, windows, [1] * len(windows)))
        parts = torch.split(found, [len(own) for own in starts])
        means = [one.mean(0) for one in parts]
        return _unit_length(torch.stack(means))

    def _embed_windows(self, windows: list[torch.Tensor]) -> torch.Tensor:
        # The LSTM's steps add up rounding, so TF32 is not used.
        with float32_products(), one_thread():
            found: torch.Tensor = self.network(torch.stack(windows))
        return found


class Network(nn.Module):
    """The network, with the parameter names of the package's checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(N_MELS, DIM, N_LAYERS, batch_first=True)
        self.linear = nn.Linear(DIM, DIM)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """Map windows, (windows, frames, mels), to embeddings of unit length, (windows, dim)."""
        _, (hidden, _) = self.lstm(mels)
        return _unit_length(functional.relu(self.linear(hidden[-1])))


def window_starts(n_samples: int) -> list[int]:
    """Return the first frames of a signal's windows, as ``compute_partial_slices`` does."""
    n_frames = n_samples // HOP_SAMPLES + 1
    starts = list(range(0, max(1, n_frames - WINDOW_FRAMES + STEP_FRAMES + 1), STEP_FRAMES))
    coverage = (n_samples / HOP_SAMPLES - starts[-1]) / WINDOW_FRAMES
    return starts[:-1] if coverage < MIN_COVERAGE and len(starts) > 1 else starts


def _unit_length(vectors: torch.Tensor) -> torch.Tensor:
    """Return (n, dim) divided by their lengths."""
    lengths: torch.Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / lengths


def _load_network(source: Path) -> Network:
    path = find_only(source, "*.pt")
    network = Network()
    load_weights(network, weights_under("model_state", path, "Resemblyzer"), path, UNUSED)
    return network.eval()
