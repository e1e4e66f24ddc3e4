"""Normalized features, as a SpeechBrain classifier's own modules give them for a signal alone."""

import copy
from typing import Any

import torch
from speechbrain.lobes.features import Fbank
from speechbrain.processing.features import Filterbank, InputNormalization, spectral_magnitude
from torch.nn.utils.rnn import pad_sequence

from xvectors.encoders.device import copy_to_device
from xvectors.encoders.speechbrain.chunked_ecapa import chunks


class Features:
    """Computes features in whatever form suits the device and the length."""

    def __init__(self, modules: Any, device: torch.device) -> None:
        """Take a classifier's modules, on their device."""
        self.compute: Any = modules["compute_features"]
        self.normalize: Any = modules["mean_var_norm"]
        self.device = device
        # A GPU likes few operations; on a CPU nothing is gained by computing on padding.
        self.together = device.type != "cpu"
        self._is_plain = is_plain_fbank(self.compute)
        if self._is_plain:
            # SpeechBrain would copy both at every call, and wait until the GPU has nothing to do.
            stft, filterbank = self.compute.compute_STFT, self.compute.compute_fbanks
            stft.window = stft.window.to(device)
            self._filters = filters_of(filterbank).to(device)

    def __call__(self, signals: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return features, (frames, mels) each, of signals, (samples,), on the device."""
        if self.together and self._is_plain and is_sentence_mean(self.normalize):
            return self._together(signals) if signals else []
        return [self._normalized(self.compute(signal[None]))[0] for signal in signals]

    def of_long(self, signal: torch.Tensor) -> torch.Tensor:
        """Return features, (1, frames, mels), of a long signal of shape (samples,)."""
        samples = signal[None]
        if self._is_plain:
            return self._normalized(fbank_in_chunks(self.compute, samples))
        return self._normalized(self.compute(samples))

    def _normalized(self, features: torch.Tensor) -> torch.Tensor:
        normalized: torch.Tensor = self.normalize(features, torch.ones(1, device=self.device))
        return normalized

    def _together(self, signals: list[torch.Tensor]) -> list[torch.Tensor]:
        """Compute features of padded signals.

        The zeros behind a signal are those that a centred STFT reads behind its end anyway. So
        its own frames stay as they are, and only what looks at all frames needs a mask.
        """
        padded = pad_sequence(signals, batch_first=True)
        spectrogram = spectral_magnitude(self.compute.compute_STFT(padded))
        features = decibels(self.compute.compute_fbanks, torch.matmul(spectrogram, self._filters))
        hop = self.compute.compute_STFT.hop_length
        n_frames = [1 + len(signal) // hop for signal in signals]
        lengths = copy_to_device(torch.tensor(n_frames), self.device)[:, None, None]
        beyond = torch.arange(features.shape[1], device=self.device)[:, None] >= lengths
        loudest = features.masked_fill(beyond, -torch.inf).amax((1, 2), keepdim=True)
        features = torch.maximum(features, loudest - self.compute.compute_fbanks.top_db)
        features -= features.masked_fill(beyond, 0).sum(1, keepdim=True) / lengths
        return [one[:n] for one, n in zip(features, n_frames, strict=True)]


def is_plain_fbank(compute_features: torch.nn.Module) -> bool:
    """Tell whether features are a centred filterbank in decibels and nothing else."""
    if type(compute_features) is not Fbank or compute_features.deltas or compute_features.context:
        return False
    stft: Any = compute_features.compute_STFT
    return bool(stft.center and stft.pad_mode == "constant")


def filters_of(filterbank: Filterbank) -> torch.Tensor:
    """Return the matrix, (frequencies, mels), by which a filterbank multiplies spectrograms."""
    plain = copy.copy(filterbank)
    plain.log_mel = False
    with torch.no_grad():
        filters: torch.Tensor = plain(torch.eye(filterbank.n_stft)[None])[0]
    return filters


def decibels(filterbank: Filterbank, energies: torch.Tensor) -> torch.Tensor:
    """Return energies in decibels as a filterbank does, but with no cut below the loudest."""
    levels = torch.log10(energies.clamp(min=filterbank.amin)) * float(filterbank.multiplier)
    return levels - float(filterbank.multiplier * filterbank.db_multiplier)


def is_sentence_mean(normalize: torch.nn.Module) -> bool:
    """Tell whether a normalization subtracts an utterance's own mean and nothing else."""
    if type(normalize) is not InputNormalization or normalize.std_norm:
        return False
    return bool(normalize.norm_type == "sentence" and normalize.length_dim == 1)


def fbank_in_chunks(fbank: Fbank, signal: torch.Tensor) -> torch.Tensor:
    """Return ``fbank(signal)``, shape (1, frames, mels), from a signal of shape (1, samples).

    SpeechBrain cuts decibels off at `top_db` below the loudest value of its input. A chunk's
    own cut lies at or below that of the whole, so cutting once more afterwards is exact, as
    long as frames that see a chunk's inner edge stay out of it.
    """
    stft, filterbank = fbank.compute_STFT, fbank.compute_fbanks
    hop = stft.hop_length
    n_frames = 1 + signal.shape[1] // hop
    parts = []
    for frames, own in chunks(n_frames, halo=-(-stft.n_fft // (2 * hop))):
        end = None if frames.stop == n_frames else (frames.stop - 1) * hop + 1
        samples = signal[:, frames.start * hop : end]
        parts.append(filterbank(spectral_magnitude(stft(samples))[:, own]))
    features = torch.cat(parts, dim=1)
    return features.clamp(min=features.amax() - filterbank.top_db)
