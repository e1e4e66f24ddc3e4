"""The package silero-vad itself, one window at a time."""

from typing import Any

import pytest
import torch

from xvectors.config.toolkits import missing_packages
from xvectors.encoders.silero.detector import SileroDetector
from xvectors.encoders.threads import one_thread


def load_model() -> Any:
    """Load the package's model, which sets PyTorch's number of threads."""
    with one_thread():
        from silero_vad import load_silero_vad  # noqa: PLC0415

        return load_silero_vad()


def find_speech(model: Any, signal: torch.Tensor) -> list[tuple[int, int]]:
    """Return start and end of what the package finds in a signal, (samples,), at 16 kHz."""
    from silero_vad import get_speech_timestamps  # noqa: PLC0415

    with one_thread():
        found = get_speech_timestamps(signal, model)
    return [(one["start"], one["end"]) for one in found]


def detector_and_package() -> tuple[SileroDetector, Any]:
    """Return our detector and the package's model; skip the test where the package is missing."""
    if missing_packages("silero"):
        pytest.skip("silero-vad is not installed: make silero")
    with pytest.warns(DeprecationWarning):
        return SileroDetector(), load_model()


def join_speech(model: Any, signal: torch.Tensor) -> torch.Tensor:
    """Return the speech that the package finds, joined, (samples,)."""
    return torch.cat([signal[start:end] for start, end in find_speech(model, signal)])
