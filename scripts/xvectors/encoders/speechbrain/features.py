"""Normalized features, equal to those of a SpeechBrain classifier for each signal alone."""

import copy
from typing import Any

import torch
from speechbrain.lobes.features import Fbank
from speechbrain.processing.features import Filterbank, InputNormalization, spectral_magnitude
from torch.nn.utils.rnn import pad_sequence

from xvectors.encoders.device import copy_to_device
from xvectors.encoders.speechbrain.chunked_ecapa import chunks


class Features:
    """Computes features in the form that suits the device and the length."""

    def __init__(self, modules: Any, device: torch.device) -> None:
        """Take a classifier's modules, on their device."""
        self.compute: Any = modules["compute_features"]
        self.normalize: Any = modules["mean_var_norm"]
        self.device = device
        # Few operations suit a GPU. A CPU gains nothing from computing on padding.
        self.together = device.type != "cpu"
        self._is_plain = is_plain_fbank(self.compute)
        if self._is_plain:
            # SpeechBrain would copy both at every call, and wait for the GPU each time.
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

        A centred STFT reads zeros behind a signal's end anyway, so padding does not change its own
        frames. Only operations on all frames need a mask.
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
    """Tell whether features are just a centred filterbank in decibels."""
    if type(compute_features) is not Fbank or compute_features.deltas or compute_features.context:
        return False
    stft: Any = compute_features.compute_STFT
    return bool(stft.center and stft.pad_mode == "constant")


def filters_of(filterbank: Filterbank) -> torch.Tensor:
    """Return the matrix, (frequencies, mels), that a filterbank multiplies spectrograms by."""
    plain = copy.copy(filterbank)
    plain.log_mel = False
    with torch.no_grad():
        filters: torch.Tensor = plain(torch.eye(filterbank.n_stft)[None])[0]
    return filters


def decibels(filterbank: Filterbank, energies: torch.Tensor) -> torch.Tensor:
    """Return energies in decibels as a filterbank does, but without its limit to `top_db`."""
    levels = torch.log10(energies.clamp(min=filterbank.amin)) * float(filterbank.multiplier)
    return levels - float(filterbank.multiplier * filterbank.db_multiplier)


def is_sentence_mean(normalize: torch.nn.Module) -> bool:
    """Tell whether a normalization just subtracts an utterance's own mean."""
    if type(normalize) is not InputNormalization or normalize.std_norm:
        return False
    return bool(normalize.norm_type == "sentence" and normalize.length_dim == 1)


def fbank_in_chunks(fbank: Fbank, signal: torch.Tensor) -> torch.Tensor:
    """Return ``fbank(signal)``, shape (1, frames, mels), from a signal of shape (1, samples).

    SpeechBrain limits decibels to `top_db` below the loudest value of its input. A chunk's limit
    is at or below that of the whole signal, so limiting again afterwards is exact, provided that
    frames affected by a chunk's inner edge are dropped first.
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
