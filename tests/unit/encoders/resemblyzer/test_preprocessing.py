import numpy as np
import pytest
import torch

from xvectors.config.toolkits import missing_packages

if missing_packages("resemblyzer"):
    pytest.skip("resemblyzer is not installed: make resemblyzer", allow_module_level=True)

import soundfile

from xvectors.encoders.resemblyzer.preprocessing import (
    INT16_MAX,
    SAMPLE_RATE,
    VAD_SAMPLES,
    SoxrNormalizer,
    preprocess,
    shorten_pauses,
)


@pytest.fixture(scope="module")
def speech(demo_encoder) -> np.ndarray:
    samples, rate = soundfile.read(
        demo_encoder.parent / "wav" / "boris" / "boris_00.wav", dtype="float32"
    )
    return SoxrNormalizer(SAMPLE_RATE)(torch.from_numpy(samples[:, None]), rate).numpy()


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
def test_a_signal_is_mixed_and_resampled_to_its_length(rate):
    times = torch.arange(rate) / rate
    tone = torch.sin(2 * torch.pi * 440 * times)
    found = SoxrNormalizer(SAMPLE_RATE)(torch.stack([tone, torch.zeros(rate)], 1), rate)
    assert found.shape == (SAMPLE_RATE,)
    assert found.dtype == torch.float32
    # Half of the tone, for the other channel is silent; the edges ring.
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(SAMPLE_RATE) / SAMPLE_RATE) / 2
    assert (found - expected)[500:-500].abs().max() < 1e-3


def test_quiet_signals_are_raised_and_loud_ones_stay(speech):
    def level(signal: np.ndarray) -> float:
        return float(20 * np.log10(np.sqrt(np.mean((signal * INT16_MAX) ** 2)) / INT16_MAX))

    quiet = preprocess(speech * 10 ** ((-50 - level(speech)) / 20))
    loud = preprocess(speech * 10 ** ((-20 - level(speech)) / 20))
    # What is left is speech, so that it is a little louder than all of the signal.
    assert -30 <= level(quiet) < -26
    assert -20 <= level(loud) < -16


def test_pauses_are_shortened_and_speech_stays(speech):
    pause = np.zeros(3 * SAMPLE_RATE, dtype=np.float32)
    alone = shorten_pauses(speech)
    together = shorten_pauses(np.concatenate([speech, pause, speech]))
    assert len(alone) > len(speech) / 2
    assert len(alone) % VAD_SAMPLES == 0
    assert 2 * len(alone) - SAMPLE_RATE < len(together) < 2 * len(alone) + SAMPLE_RATE


@pytest.mark.parametrize("n_samples", [0, VAD_SAMPLES - 1, SAMPLE_RATE])
def test_of_silence_nothing_is_left(n_samples):
    silence = np.zeros(n_samples, dtype=np.float32)
    assert len(shorten_pauses(silence)) == 0
    if n_samples:
        assert len(preprocess(silence)) == 0
