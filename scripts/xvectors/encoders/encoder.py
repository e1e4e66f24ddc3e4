"""Encoders: what a toolkit must give so that everything else is shared."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import torch

from xvectors.audio.resampling import Normalizer
from xvectors.config import import_class
from xvectors.encoders.toolkits import toolkit_named
from xvectors.errors import EncoderError


class Encoder(ABC):
    """A speaker encoder on its device.

    A toolkit's own one is constructed with source, device and precision, see `load_encoder`.

    Attributes:
        sample_rate: Rate in Hz of the signals that it embeds.
        min_samples: Length in samples of the shortest signal that it can embed.

    """

    sample_rate: int
    min_samples: int

    def __init__(self, device: str, precision: str) -> None:
        """Settle where and how it computes."""
        self.device = torch.device(device)
        self.precision = precision
        # GPUs round float32 products to TF32 only when asked (PyTorch's default is a mix).
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self._normalizer = Normalizer(self.sample_rate)

    @abstractmethod
    def embed(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone.

        Args:
            signals: float32 tensors of shape (samples,), at least `min_samples` long.

        Returns:
            float32, shape (len(signals), embedding_size), on the CPU.

        """

    @cached_property
    def embedding_size(self) -> int:
        """The number of values of an embedding."""
        return self.embed([torch.zeros(self.min_samples)]).shape[1]

    def normalize(self, signal: torch.Tensor, sample_rate: int) -> torch.Tensor:
        """Bring a signal to the encoder's rate, mono, as SpeechBrain's AudioNormalizer does.

        Args:
            signal: float32, shape (samples, channels), on the CPU.
            sample_rate: Its rate in Hz.

        Returns:
            float32, shape (samples,), at `self.sample_rate`.

        """
        return self._normalizer(signal, sample_rate)

    def autocast(self) -> torch.autocast:
        """Return a context in which products are computed in bf16, if that is the precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def embed_alike(
    network: Callable[[torch.Tensor], torch.Tensor], items: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Return the embeddings, (items, dim), those of the same length going together.

    This is exact for every network that treats the items of a batch alike, if none is padded.

    Args:
        network: Maps a batch, (items, length, ...), to (items, dim).
        items: Signals or features, (length, ...) each.

    """
    embeddings: dict[int, torch.Tensor] = {}
    for length in {len(one) for one in items}:
        alike = [i for i, one in enumerate(items) if len(one) == length]
        found = network(torch.stack([items[i] for i in alike]))
        embeddings.update(zip(alike, found, strict=True))
    return torch.stack([embeddings[i] for i in range(len(items))])


def load_encoder(toolkit: str, source: Path, device: str, precision: str) -> Encoder:
    """Load an encoder from a local folder or file onto a device.

    Raises:
        EncoderError: The files are missing, damaged or of another kind, the toolkit is not
            installed, or the device lacks the precision.

    """
    if precision == "bf16" and not has_bf16(device):
        raise EncoderError(
            f"xvector.precision: bf16 is not native to this machine's {device}, where it would "
            "only be slow; use fp32"
        )
    encoder_class = import_class(toolkit_named(toolkit).encoder, "xvector.toolkit")
    encoder: Encoder = encoder_class(source, device, precision)
    return encoder


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
