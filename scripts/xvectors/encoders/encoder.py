"""Encoders: what a toolkit must give so that everything else is shared."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

import torch

from xvectors.audio.reading import read_signal
from xvectors.audio.resampling import Normalizer
from xvectors.audio.signal import Segment, Signal
from xvectors.config.imports import import_class
from xvectors.config.toolkits import toolkit_named
from xvectors.encoders.device import allow_tf32, float32_products, has_bf16, record_event
from xvectors.errors import EncoderError, UtteranceError


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
        allow_tf32(precision == "tf32")
        self.normalizer = Normalizer(self.sample_rate, self.device)
        # What is given to a GPU by one thread is computed while others prepare what comes next.
        self._submitting = Lock()

    @abstractmethod
    def embed_on_device(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone.

        One thread at a time is in here, in inference mode.

        Args:
            signals: float32 tensors of shape (samples,), at `sample_rate`, at least `min_samples`
                long, on the device.

        Returns:
            Shape (len(signals), dim), on the device.

        """

    def embed(self, signals: Sequence[Signal | torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone.

        Several threads may do so at once.

        Args:
            signals: As `read` returns them, or float32 tensors of shape (samples,), at
                `sample_rate`; at least `min_samples` long.

        Returns:
            float32, shape (len(signals), dim), on the CPU.

        """
        with torch.inference_mode():
            with self._submitting:
                with float32_products():
                    at_rate = self.normalizer.normalize_together(self.with_rates(signals))
                embeddings = self.embed_on_device(at_rate).float()
                # In the queue before whatever another thread submits, and without waiting here.
                embeddings = embeddings.to("cpu", non_blocking=True)
                computed = record_event(self.device)
            if computed:
                computed.synchronize()
            return embeddings

    def with_rates(self, signals: Sequence[Signal | torch.Tensor]) -> list[Signal]:
        """Return signals with their rates; mere tensors have the encoder's."""
        return [
            signal if isinstance(signal, Signal) else Signal(signal, self.sample_rate)
            for signal in signals
        ]

    def read(self, path: str, segment: Segment | None = None) -> Signal:
        """Read a file, or a segment of it, as `embed` takes it; several threads may do so at once.

        Raises:
            UtteranceError: It cannot be read (see `read_signal`), or is too short.

        """
        signal = read_signal(path, self.normalizer, segment)
        n_samples = self.normalizer.n_samples(signal)
        if n_samples < self.min_samples:
            raise UtteranceError(
                f"too short: {path} has {n_samples / self.sample_rate:.4f} s, this encoder needs "
                f"{self.min_samples / self.sample_rate:.4f} s"
            )
        return signal

    def autocast(self) -> torch.autocast:
        """Return a context in which products are computed in bf16, if that is the precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def embed_by_length(
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
