"""Conversion of signals to mono at an encoder's rate, equal to SpeechBrain's."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy
import torch
from torchaudio.transforms import Resample

from xvectors.audio.signal import Signal
from xvectors.audio.strip import Blocks, lay_on_strip
from xvectors.audio.workarounds import without_scipy_stats

with without_scipy_stats():
    from speechbrain.dataio.preprocess import AudioNormalizer

# torchaudio's kernel has a row for each phase. From 44,100 Hz to 16,000 Hz it is 160 x 477. But
# 44,101 has no common divisor with 16,000, so the kernel would be 16,000 x 44,137: gigabytes of
# mostly zeros.
MAX_KERNEL = 2**22
# Number of rates whose kernels are cached. Files may have many different rates.
MAX_RATES = 4
# torchaudio's defaults, which SpeechBrain uses: zero crossings of the sinc on either side, and the
# cut-off frequency relative to the lower Nyquist frequency.
ZERO_CROSSINGS = 6
ROLLOFF = 0.99
# Products of samples and taps computed at a time.
MAX_PRODUCTS = 2**21
# Least samples of a block of the resampler for many signals.
BLOCK_SAMPLES = 256
Resampler = Callable[[torch.Tensor, int], torch.Tensor]


class Normalizer:
    """Converts signals to mono at one rate, as SpeechBrain's AudioNormalizer does.

    On a GPU, many signals are converted together after they were read.

    Attributes:
        sample_rate: The target rate in Hz.
        together: Whether reading leaves the conversion to `normalize_together`.

    """

    def __init__(self, sample_rate: int, device: torch.device | str = "cpu") -> None:
        """Take the target rate in Hz and the device of `normalize_together`."""
        self.sample_rate = sample_rate
        self.device = torch.device(device)
        self.together = self.device.type != "cpu"
        self.resampler = lru_cache(MAX_RATES)(self._make_resampler)
        self._strip_resampler = lru_cache(MAX_RATES)(
            partial(StripResampler, target=sample_rate, device=self.device)
        )

    def __call__(self, signal: torch.Tensor, sample_rate: int) -> torch.Tensor:
        """Return float32 of shape (samples,) for (samples, channels) at a rate in Hz."""
        return self.resampler(sample_rate)(signal, sample_rate)

    def is_deferred(self, sample_rate: int) -> bool:
        """Tell whether signals at a rate in Hz are converted after they were read."""
        return self.together and kernel_size(sample_rate, self.sample_rate) <= MAX_KERNEL

    def n_samples(self, signal: Signal) -> int:
        """Return the number of samples that a signal has at `self.sample_rate`."""
        return _n_outputs(len(signal.samples), signal.rate, self.sample_rate)

    def normalize_together(self, signals: Sequence[Signal]) -> list[torch.Tensor]:
        """Return signals on the device, float32, (samples,), at `self.sample_rate`."""
        found: dict[int, torch.Tensor] = {}
        for rate in {signal.rate for signal in signals}:
            places = [i for i, signal in enumerate(signals) if signal.rate == rate]
            samples = [signals[i].samples for i in places]
            if rate != self.sample_rate:
                samples = self._strip_resampler(rate)(samples)
            found.update(zip(places, samples, strict=True))
        return [found[i] for i in range(len(signals))]

    def _make_resampler(self, sample_rate: int) -> Resampler:
        if kernel_size(sample_rate, self.sample_rate) > MAX_KERNEL:
            return NarrowResampler(sample_rate, self.sample_rate)
        resampler: Resampler = AudioNormalizer(self.sample_rate)
        return resampler


def kernel_size(source: int, target: int) -> int:
    """Return the number of elements of torchaudio's kernel from one rate in Hz to another."""
    divisor = math.gcd(source, target)
    width = math.ceil(ZERO_CROSSINGS * source / (ROLLOFF * min(source, target)))
    return target // divisor * (2 * width + source // divisor)


def _n_outputs(n_samples: int, source: int, target: int) -> int:
    """Return the number of samples at another rate in Hz, as torchaudio counts them."""
    divisor = math.gcd(source, target)
    # torchaudio rounds the quotient to float32 too.
    return math.ceil(numpy.float32(target // divisor * n_samples / (source // divisor)))


class StripResampler:
    """torchaudio's sinc interpolation of many signals as one matrix product.

    As a convolution, every new length would make cuDNN look for a way to compute it. Here a block
    of samples times a matrix, which holds the kernel several times, gives a block of outputs.
    """

    def __init__(self, source: int, target: int, device: torch.device) -> None:
        """Take two rates in Hz and a device."""
        self._rates = source, target
        resample = Resample(source, target)
        kernel, width = resample.kernel[:, 0].T, resample.width
        divisor = math.gcd(source, target)
        n_inputs, n_outputs = source // divisor, target // divisor
        n_times = -(-BLOCK_SAMPLES // n_inputs)
        step = n_times * n_inputs
        self._blocks = Blocks(step + 2 * width, step, before=width, after=n_inputs + width)
        self._n_outputs = n_times * n_outputs
        matrix = torch.zeros(step + 2 * width, self._n_outputs)
        for i in range(n_times):
            rows = slice(i * n_inputs, i * n_inputs + len(kernel))
            matrix[rows, i * n_outputs : (i + 1) * n_outputs] = kernel
        self._matrix = matrix.to(device)

    def __call__(self, signals: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return float32 of shape (samples,) for signals, (samples,) each, at the first rate."""
        strip = lay_on_strip(signals, self._blocks)
        blocks = strip.samples.unfold(0, self._blocks.size, self._blocks.step)
        outputs = (blocks @ self._matrix).flatten()
        starts = [first * self._n_outputs for first in strip.first_blocks]
        lengths = [_n_outputs(len(signal), *self._rates) for signal in signals]
        return [outputs[a : a + n] for a, n in zip(starts, lengths, strict=True)]


class NarrowResampler:
    """torchaudio's sinc interpolation with a Hann window, without the zeros of its kernel.

    An output is a weighted sum of the inputs within six zero crossings of the sinc. Its weights
    follow the formula of `torchaudio.functional.resample`, including its rounding.
    """

    def __init__(self, source: int, target: int) -> None:
        """Take two rates in Hz."""
        divisor = math.gcd(source, target)
        self.source, self.target = source // divisor, target // divisor
        base = min(self.source, self.target) * ROLLOFF
        self.reach = math.ceil(ZERO_CROSSINGS * self.source / base)
        self.taps = torch.arange(2 * self.reach + 1) - self.reach
        phases = torch.split(torch.arange(self.target), MAX_PRODUCTS // len(self.taps))
        self.weights = torch.cat([self._weights(some, base) for some in phases])

    def _weights(self, phases: torch.Tensor, base: float) -> torch.Tensor:
        """Return the weights, (phases, taps), of outputs that are `phases` after some input."""
        inputs = (phases * self.source // self.target)[:, None] + self.taps
        # float32 as in torchaudio, which matters if there are many phases.
        outputs = (phases / self.target)[:, None]
        t = (inputs.double() / self.source - outputs) * base
        t = t.clamp(-ZERO_CROSSINGS, ZERO_CROSSINGS)
        window = torch.cos(t * (math.pi / ZERO_CROSSINGS / 2)).square()
        return (torch.sinc(t) * window * (base / self.source)).float()

    def __call__(self, signal: torch.Tensor, sample_rate: int) -> torch.Tensor:
        """Return float32 of shape (samples,) for (samples, channels) at the first rate."""
        n_samples = len(signal)
        padded = torch.nn.functional.pad(signal.mean(1), (self.reach, self.reach + 1))
        n_outputs = _n_outputs(n_samples, self.source, self.target)
        blocks = torch.split(torch.arange(n_outputs), MAX_PRODUCTS // len(self.taps))
        return torch.cat([self._block(padded, block) for block in blocks])

    def _block(self, padded: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
        nearest = outputs * self.source // self.target
        inputs = padded[nearest[:, None] + self.taps + self.reach]
        return (inputs * self.weights[outputs % self.target]).sum(1)
