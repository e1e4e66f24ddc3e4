"""Encoders: what a toolkit must give so that everything else is shared."""

from abc import ABC, abstractmethod
from pathlib import Path

import torch

from xvectors.errors import EncoderError


class Encoder(ABC):
    """A speaker encoder on its device.

    Attributes:
        sample_rate: Rate in Hz of the signals that it embeds.
        min_samples: Length in samples of the shortest signal that it can embed.

    """

    sample_rate: int
    min_samples: int

    @abstractmethod
    def normalize(self, signal: torch.Tensor, sample_rate: int) -> torch.Tensor:
        """Bring a signal to the encoder's rate, mono, as the toolkit does it.

        Args:
            signal: float32, shape (samples, channels), on the CPU.
            sample_rate: Its rate in Hz.

        Returns:
            float32, shape (samples,), at `self.sample_rate`.

        """

    @abstractmethod
    def embed(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone.

        Args:
            signals: float32 tensors of shape (samples,), at least `min_samples` long.

        Returns:
            float32, shape (len(signals), dim), on the CPU.

        """


def load_encoder(toolkit: str, source: Path, device: str, precision: str) -> Encoder:
    """Load an encoder from a local folder or file onto a device.

    Raises:
        EncoderError: The files are missing, damaged or of another kind, or the device lacks the
            precision.

    """
    if precision == "bf16" and not has_bf16(device):
        raise EncoderError(
            f"xvector.precision: bf16 is not native to this machine's {device}, where it would "
            "only be slow; use fp32"
        )
    if toolkit == "speechbrain":
        from xvectors.speechbrain_encoder import SpeechBrainEncoder  # noqa: PLC0415

        return SpeechBrainEncoder(source, device, precision)
    raise EncoderError(f"toolkit {toolkit} is not supported yet, use speechbrain")


def has_bf16(device: str) -> bool:
    """Tell whether a device multiplies bf16 matrices natively."""
    if device == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def choose_device(device: str | None) -> str:
    """Return `device`, or, for None, ``cuda`` where there is a GPU and ``cpu`` elsewhere.

    Raises:
        EncoderError: A GPU is asked for that is not there.

    """
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu":
        number = int(device.partition(":")[2] or 0)
        n_gpus = torch.cuda.device_count()
        if number >= n_gpus:
            raise EncoderError(f"xvector.device: no {device} here, there are {n_gpus} GPUs")
    return device
