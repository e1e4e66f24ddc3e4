"""Signals as Resemblyzer's ``preprocess_wav`` prepares them: resampled, leveled, with short pauses.

The order of operations and their types are those of the package, because the voice activity
detector sees 16-bit samples, and a rounding error may change what it says of a frame.
"""

import math

import numpy
import soxr
import torch
import webrtcvad
from numpy.lib.stride_tricks import sliding_window_view

from xvectors.audio.resampling import Normalizer

SAMPLE_RATE = 16000
INT16_MAX = 2**15 - 1
# Quieter signals are raised to this level, in decibels relative to full scale.
LEVEL_DB = -30
# The detector's most aggressive mode, on frames of 30 ms.
VAD_MODE = 3
VAD_SAMPLES = 30 * SAMPLE_RATE // 1000
# Frames whose answers are averaged, and frames of a pause that are kept in all.
SMOOTHED_FRAMES = 8
PAUSE_FRAMES = 6


class SoxrNormalizer(Normalizer):
    """Resamples as librosa does by default since version 0.10."""

    def __call__(self, signal: torch.Tensor, sample_rate: int) -> torch.Tensor:
        """Return float32 of shape (samples,) for (samples, channels) at a rate in Hz."""
        mono = signal.mean(1)
        if sample_rate == self.sample_rate:
            return mono
        n_samples = math.ceil(len(mono) * self.sample_rate / sample_rate)
        resampled = soxr.resample(mono.numpy(), sample_rate, self.sample_rate, quality="soxr_hq")
        found = torch.zeros(n_samples)
        resampled = torch.from_numpy(resampled[:n_samples])
        found[: len(resampled)] = resampled
        return found


def preprocess(signal: numpy.ndarray) -> numpy.ndarray:
    """Return a float32 signal of shape (samples,), raised to the level and with short pauses.

    It is empty if the detector hears no speech.
    """
    level = numpy.sqrt(numpy.mean((signal * INT16_MAX) ** 2)) / INT16_MAX
    if level == 0:
        return signal[:0]
    change_db = LEVEL_DB - 20 * numpy.log10(level)
    if change_db > 0:
        signal = signal * (10 ** (change_db / 20))
    return shorten_pauses(signal)


def shorten_pauses(signal: numpy.ndarray) -> numpy.ndarray:
    """Cut out frames far from speech, and the samples beyond the last full frame."""
    signal = signal[: len(signal) - len(signal) % VAD_SAMPLES]
    if len(signal) == 0:
        return signal
    frames = numpy.round(signal * INT16_MAX).astype(numpy.int16).reshape(-1, VAD_SAMPLES)
    detector = webrtcvad.Vad(VAD_MODE)
    is_speech = numpy.array([detector.is_speech(one.tobytes(), SAMPLE_RATE) for one in frames])
    before = (SMOOTHED_FRAMES - 1) // 2
    padded = numpy.pad(is_speech, (before, SMOOTHED_FRAMES - 1 - before))
    # More than half of the frames: the package rounds 0.5 to 0.
    smoothed = sliding_window_view(padded, SMOOTHED_FRAMES).sum(1) > SMOOTHED_FRAMES // 2
    around = numpy.pad(smoothed, PAUSE_FRAMES // 2)
    kept = sliding_window_view(around, PAUSE_FRAMES + 1).any(1)
    return signal[numpy.repeat(kept, VAD_SAMPLES)]
