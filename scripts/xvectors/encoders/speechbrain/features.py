"""Normalized features, equal to those of a SpeechBrain classifier for each signal alone."""

import copy
from typing import Any

import torch
from speechbrain.lobes.features import Fbank
from speechbrain.processing.features import Filterbank, InputNormalization, spectral_magnitude

from xvectors.audio.strip import Blocks, lay_on_strip
from xvectors.encoders.device import copy_to_device
from xvectors.encoders.ragged import Padded
from xvectors.encoders.speechbrain.chunked_ecapa import Chunking


class Features:
    """Computes features in the form that suits the device and the length."""

    def __init__(self, modules: Any, device: torch.device) -> None:
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
            self._stft = copy.copy(stft)
            self._stft.center = False
            half = stft.n_fft // 2
            self.blocks = Blocks(stft.n_fft, stft.hop_length, before=half, after=half)

    def __call__(self, signals: list[torch.Tensor]) -> list[torch.Tensor] | Padded:
        """Return features, (frames, mels) each, of signals, (samples,), on the device."""
        if self.together and self._is_plain and is_sentence_mean(self.normalize):
            return self._together(signals)
        return [self._normalized(self.compute(signal[None]))[0] for signal in signals]

    def of_long(self, signal: torch.Tensor, chunking: Chunking) -> torch.Tensor:
        """Return features, (1, frames, mels), of a long signal of shape (samples,)."""
        samples = signal[None]
        if self._is_plain:
            return self._normalized(self._in_chunks(samples, chunking))
        return self._normalized(self.compute(samples))

    def _normalized(self, features: torch.Tensor) -> torch.Tensor:
        normalized: torch.Tensor = self.normalize(features, torch.ones(1, device=self.device))
        return normalized

    def _in_chunks(self, signal: torch.Tensor, chunking: Chunking) -> torch.Tensor:
        """Return features, (1, frames, mels), of a signal of shape (1, samples).

        The limit of decibels to `top_db` below the loudest value is that of the whole signal.
        """
        stft, filterbank = self.compute.compute_STFT, self.compute.compute_fbanks
        hop = stft.hop_length
        n_frames = 1 + signal.shape[1] // hop
        parts = []
        for frames, own in chunking.chunks(n_frames, halo=-(-stft.n_fft // (2 * hop))):
            end = None if frames.stop == n_frames else (frames.stop - 1) * hop + 1
            samples = signal[:, frames.start * hop : end]
            spectrogram = spectral_magnitude(stft(samples))[:, own]
            parts.append(decibels(filterbank, torch.matmul(spectrogram, self._filters)))
        features = torch.cat(parts, dim=1)
        return features.clamp(min=features.amax() - filterbank.top_db)

    def _together(self, signals: list[torch.Tensor]) -> Padded:
        """Compute features of signals on a strip.

        A centred STFT reads zeros around a signal, which the strip has. Operations on all frames
        of an utterance leave out what is padding.
        """
        strip = lay_on_strip(signals, self.blocks, few_sizes=True)
        spectrogram = spectral_magnitude(self._stft(strip.samples[None]))[0]
        filterbank = self.compute.compute_fbanks
        levels = decibels(filterbank, torch.matmul(spectrogram, self._filters))
        n_frames = [1 + len(signal) // self.blocks.step for signal in signals]
        places = torch.tensor([strip.first_blocks, n_frames])
        starts, lengths = copy_to_device(places, self.device)[..., None]
        frame = torch.arange(max(n_frames), device=self.device)
        # Rows beyond an utterance's end repeat its last frame.
        rows = starts + torch.minimum(frame, lengths - 1)
        features = levels.index_select(0, rows.flatten()).view(*rows.shape, -1)
        loudest = features.amax((1, 2), keepdim=True)
        features = torch.maximum(features, loudest - filterbank.top_db)
        beyond = (frame >= lengths)[..., None]
        total = features.masked_fill(beyond, 0).sum(1, keepdim=True)
        return Padded(features.sub_(total / lengths[..., None]), places[1], lengths[:, 0])


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
