"""Mel spectrograms of power, as librosa computes them, in chunks of bounded memory."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional
from torchaudio.functional import melscale_fbanks

# Frames whose spectra are computed at a time: a minute.
CHUNK_FRAMES = 6000


def chunks(signal: torch.Tensor, n_frames: int, hop: int, window: int) -> Iterator[torch.Tensor]:
    """Yield the samples of `CHUNK_FRAMES` frames at a time, each `window` samples long."""
    for first in range(0, n_frames, CHUNK_FRAMES):
        last = min(first + CHUNK_FRAMES, n_frames) - 1
        yield signal[first * hop : last * hop + window]


class Mels(nn.Module):
    """Mel spectrograms of power, without a logarithm, with Slaney's filters.

    Frame `i` is centred on sample ``i * hop``; around the signal there are zeros.
    """

    def __init__(
        self, sample_rate: int, n_mels: int, hop: int, n_fft: int, window: torch.Tensor
    ) -> None:
        """Take rate, bands, samples between frames, size of the transform, and the window."""
        super().__init__()
        self.hop, self.n_fft = hop, n_fft
        filters = melscale_fbanks(
            n_fft // 2 + 1,
            0.0,
            sample_rate / 2,
            n_mels,
            sample_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        self.register_buffer("filters", filters)
        self.register_buffer("window", window)

    def forward(self, signal: torch.Tensor, n_frames: int) -> torch.Tensor:
        """Return the first frames, (n_frames, mels), of (samples,)."""
        before = self.n_fft // 2
        end = (n_frames - 1) * self.hop + self.n_fft
        padded = functional.pad(signal, (before, max(end - before - len(signal), 0)))
        window = self.get_buffer("window")
        parts = []
        for samples in chunks(padded, n_frames, self.hop, self.n_fft):
            spectrum = torch.stft(
                samples,
                self.n_fft,
                self.hop,
                win_length=len(window),
                window=window,
                center=False,
                return_complex=True,
            )
            parts.append(spectrum.abs().square().T @ self.get_buffer("filters"))
        return torch.cat(parts)
