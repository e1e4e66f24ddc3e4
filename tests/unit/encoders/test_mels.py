import numpy as np
import pytest
import torch

from tests.support.toolkit_models import speech
from xvectors.encoders import mels
from xvectors.encoders.mels import Mels


@pytest.fixture
def spectrogram() -> Mels:
    return Mels(16000, 40, 160, 512, torch.hann_window(400, periodic=False))


def test_frames_are_centred_on_multiples_of_the_hop(spectrogram):
    (signal,) = speech([3200])
    found = spectrogram(signal, 21).numpy()
    padded = np.pad(signal.numpy(), 256)
    window = np.pad(np.hanning(400), 56)
    frames = np.stack([padded[160 * i : 160 * i + 512] for i in range(21)])
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    expected = power @ spectrogram.filters.numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_chunks_and_more_frames_than_the_signal_has(spectrogram, monkeypatch):
    (signal,) = speech([16000])
    whole = spectrogram(signal, 150)
    assert whole.shape == (150, 40)
    assert whole[103:].abs().max() == 0
    monkeypatch.setattr(mels, "CHUNK_FRAMES", 11)
    torch.testing.assert_close(spectrogram(signal, 150), whole)
