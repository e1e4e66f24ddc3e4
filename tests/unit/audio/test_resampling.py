import pytest
import torch
from speechbrain.dataio.preprocess import AudioNormalizer

from xvectors.audio import resampling
from xvectors.audio.resampling import NarrowResampler, Normalizer, kernel_size


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
    assert normalizer._resampler.cache_info().currsize == resampling.MAX_RATES
