"""Silero's network: the probability of speech in each window of a signal.

It is the model of the PyPI package silero-vad, which calls it once per window. Here, the layers
before the LSTM see many windows at a time, which takes a seventh of the time. Probabilities differ
by rounding only.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from xvectors.errors import EncoderError

SAMPLE_RATE = 16000
WINDOW_SAMPLES = 512
# Samples of the window before.
CONTEXT_SAMPLES = 64
FFT_SAMPLES = 256
HOP_SAMPLES = 128
N_BINS = FFT_SAMPLES // 2 + 1
# Channels and strides of the convolutions.
CHANNELS = (N_BINS, 128, 64, 64, 128)
STRIDES = (1, 2, 2, 1)
# Windows that are computed together, half a minute.
BLOCK_WINDOWS = 1024
# The model for 16 kHz; there is another one for 8 kHz.
PREFIX = "_model."


class Network(nn.Module):
    """Maps a signal to probabilities of speech."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = nn.Conv1d(1, 2 * N_BINS, FFT_SAMPLES, HOP_SAMPLES, bias=False)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(n_in, n_out, 3, stride, padding=1)
            for n_in, n_out, stride in zip(CHANNELS, CHANNELS[1:], STRIDES, strict=False)
        )
        self.lstm = nn.LSTM(CHANNELS[-1], CHANNELS[-1], batch_first=True)
        self.output = nn.Linear(CHANNELS[-1], 1)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Return the probability of speech in each window, (windows,), of (samples,)."""
        n_windows = -(-len(signal) // WINDOW_SAMPLES)
        after = n_windows * WINDOW_SAMPLES - len(signal)
        padded = functional.pad(signal, (CONTEXT_SAMPLES, after))
        windows = padded.unfold(0, CONTEXT_SAMPLES + WINDOW_SAMPLES, WINDOW_SAMPLES)
        found, state = [], None
        for block in torch.split(windows, BLOCK_WINDOWS):
            hidden, state = self.lstm(self._features(block)[None], state)
            found.append(torch.sigmoid(self.output(hidden[0].relu()))[:, 0])
        return torch.cat(found)

    def _features(self, windows: torch.Tensor) -> torch.Tensor:
        """Return (windows, channels) of (windows, samples)."""
        padded = functional.pad(windows[:, None], (0, CONTEXT_SAMPLES), mode="reflect")
        real, imaginary = self.spectrum(padded).split(N_BINS, dim=1)
        features: torch.Tensor = (real.square() + imaginary.square()).sqrt()
        for convolution in self.convolutions:
            features = convolution(features).relu()
        return features[:, :, 0]


def load_network(model: Path) -> Network:
    """Load the network with the weights of the package's TorchScript file.

    Raises:
        EncoderError: The file is not that model.

    """
    network = Network()
    try:
        network.load_state_dict(_weights(_read_torchscript(model)))
    except (RuntimeError, ValueError, KeyError) as error:
        raise EncoderError(f"{model}: not the model of silero-vad. Install it again") from error
    return network.eval()


def _read_torchscript(model: Path) -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        # PyTorch warns those who write such files.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        module = torch.jit.load(str(model), map_location="cpu")  # type: ignore[no-untyped-call]
    found: dict[str, torch.Tensor] = module.state_dict()
    return found


def _weights(found: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights by the names that they have here."""
    weights = {"spectrum.weight": found[f"{PREFIX}stft.forward_basis_buffer"]}
    for kind in ("weight", "bias"):
        for i in range(len(STRIDES)):
            name = f"{PREFIX}encoder.{i}.reparam_conv.{kind}"
            weights[f"convolutions.{i}.{kind}"] = found[name]
        for place in ("ih", "hh"):
            weights[f"lstm.{kind}_{place}_l0"] = found[f"{PREFIX}decoder.rnn.{kind}_{place}"]
        output = found[f"{PREFIX}decoder.decoder.2.{kind}"]
        weights[f"output.{kind}"] = output.flatten(1) if kind == "weight" else output
    return weights
