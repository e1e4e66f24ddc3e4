import pytest
import torch
from speechbrain.dataio.preprocess import AudioNormalizer

from xvectors.audio import resampling
from xvectors.audio.resampling import NarrowResampler, Normalizer, kernel_size
from xvectors.audio.signal import Signal


def noise(n_samples: int, channels: int) -> torch.Tensor:
    return 0.1 * torch.randn(n_samples, channels, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("source", "target"), [(1501, 1000), (999, 1600), (8001, 1600), (48000, 16000), (16001, 320)]
)
def test_the_narrow_kernel_gives_what_torchaudio_gives(source, target):
    signal = noise(7 * source + 123, channels=2)
    expected = AudioNormalizer(target)(signal, source)
    found = NarrowResampler(source, target)(signal, source)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("source", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000])
def test_usual_rates_are_resampled_by_torchaudio_itself(source):
    signal = noise(source, channels=1)
    assert torch.equal(Normalizer(16000)(signal, source), AudioNormalizer(16000)(signal, source))


@pytest.mark.parametrize("source", [1, 4001, 44101, 192001, 767_999])
def test_any_rate_takes_little_memory(source):
    assert kernel_size(source, 16000) > resampling.MAX_KERNEL or source == 1
    resampler = NarrowResampler(source, 16000)
    assert resampler.weights.numel() < 1e7
    assert len(resampler(noise(source, channels=1), source)) == 16000


def test_kernels_of_few_rates_are_kept():
    normalizer = Normalizer(16000)
    for source in range(8000, 8040, 4):
        normalizer(noise(800, channels=1), source)
    assert normalizer.resampler.cache_info().currsize == resampling.MAX_RATES


def test_many_signals_together_are_what_each_is_alone():
    normalizer = Normalizer(16000)
    rates = [24000, 16000, 44100, 24000, 8000, 24000, 44100, 22050, 24000]
    signals = [Signal(noise(n, 1)[:, 0], rate) for n, rate in enumerate(rates, start=20_000)]
    signals += [Signal(noise(n, 1)[:, 0], 24000) for n in (1, 2, 3, 500, 100_001)]
    for found, signal in zip(normalizer.normalize_together(signals), signals, strict=True):
        expected = AudioNormalizer(16000)(signal.samples[:, None], signal.rate)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        assert len(found) == normalizer.n_samples(signal)
    assert normalizer.normalize_together([]) == []


def test_what_is_left_until_many_are_there():
    normalizer = Normalizer(16000)
    assert not normalizer.is_deferred(24000)
    normalizer.together = True
    assert [normalizer.is_deferred(rate) for rate in (8000, 24000, 44101)] == [True, True, False]
