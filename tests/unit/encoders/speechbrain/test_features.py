import copy

import torch
from speechbrain.processing.features import spectral_magnitude

from xvectors.encoders.speechbrain.features import decibels, filters_of


def test_features_together_equal_those_alone(encoder, signals, monkeypatch):
    quiet_and_loud = [signals[0] * 1e-4, signals[1] * 0.9, torch.zeros(8000), *signals[2:]]
    alone = encoder.features(quiet_and_loud)
    monkeypatch.setattr(encoder.features, "together", True)
    together = encoder.features(quiet_and_loud)
    assert (
        together.lengths.tolist() == together.frame_counts.tolist() == [len(one) for one in alone]
    )
    for one, other in zip(together.unpadded(), alone, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() < 1e-3


def test_filters_and_decibels_are_those_of_the_filterbank(encoder, signals):
    fbank = encoder.features.compute
    for signal in signals[:3]:
        spectrogram = spectral_magnitude(fbank.compute_STFT(signal[None]))
        filterbank = copy.copy(fbank.compute_fbanks)
        filterbank.top_db = float("inf")
        found = decibels(filterbank, torch.matmul(spectrogram, filters_of(filterbank)))
        assert torch.equal(found, filterbank(spectrogram))
