"""The interface of encoders: the part that each toolkit implements."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

import torch

from xvectors.audio.reading import read_signal
from xvectors.audio.recording import Channels
from xvectors.audio.resampling import Normalizer
from xvectors.audio.signal import Segment, Signal
from xvectors.config.imports import import_class
from xvectors.config.settings import Frontend
from xvectors.config.toolkits import precision_problem, toolkit_named
from xvectors.encoders.batch_budget import BatchBudget
from xvectors.encoders.device import (
    Uploads,
    copy_to_cpu,
    float32_products,
    has_bf16,
    limit_fft_plans,
    record_event,
    tf32_products,
)
from xvectors.encoders.silero.detector import SileroDetector
from xvectors.encoders.threads import use_safe_threads
from xvectors.errors import EncoderError, UtteranceError

# One thread at a time submits work to the device, and the others prepare the next batches. The
# lock is the whole process's, because PyTorch's switches for TF32 are.
_submitting = Lock()


class Encoder(ABC):
    """A speaker encoder on its device.

    The constructor of a subclass takes source, device and precision, see `load_encoder`. Unless
    they are class attributes, it sets `sample_rate` before ``super().__init__(device, precision)``
    and `min_samples` at the end; `find_shortest` finds it by trying.

    Attributes:
        sample_rate: Rate in Hz of the signals that it embeds.
        min_samples: Length in samples of the shortest signal that it can embed.
        channels: What it hears of a recording with several channels: their mean, or the first.

    """

    sample_rate: int
    min_samples: int
    channels: Channels = "mean"

    def __init__(self, device: str, precision: str) -> None:
        self.device = torch.device(device)
        self.precision = precision
        self.normalizer = Normalizer(self.sample_rate, self.device)
        self._detector: SileroDetector | None = None
        self._uploads = Uploads(self.device)
        limit_fft_plans(self.device)
        self._use_safe_threads()

    @abstractmethod
    def embed_on_device(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone.

        It is called by one thread at a time, in inference mode.

        Args:
            signals: float32 tensors of shape (samples,), at `sample_rate`, at least `min_samples`
                long, on the device.

        Returns:
            Shape (len(signals), dim), on the device.

        """

    def embed(self, signals: Sequence[Signal | torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone.

        Several threads may call it at once.

        Args:
            signals: As `read` returns them, or float32 tensors of shape (samples,), at
                `sample_rate`; at least `min_samples` long.

        Returns:
            float32, shape (len(signals), dim), on the CPU.

        """
        rated = self.with_rates(signals)
        with torch.inference_mode():
            wait_for_upload = self._uploads.start([one.samples for one in rated])
            with _submitting, tf32_products(self.precision == "tf32"):
                self._use_safe_threads()
                arrived = zip(rated, wait_for_upload(), strict=True)
                rated = [one._replace(samples=samples) for one, samples in arrived]
                with float32_products():
                    at_rate = self.normalizer.normalize_together(rated)
                embeddings = self.embed_on_device(at_rate).float()
                # Queued before the work of other threads, and without waiting here.
                embeddings = copy_to_cpu(embeddings)
                computed = record_event(self.device)
            if computed:
                computed.synchronize()
            return embeddings

    def _use_safe_threads(self) -> None:
        """Make sure that the calling thread computes right products, see `use_safe_threads`."""
        if self.device.type == "cpu":
            dtypes = [torch.float32, *([torch.bfloat16] if self.precision == "bf16" else [])]
            use_safe_threads(*dtypes)

    def with_rates(self, signals: Sequence[Signal | torch.Tensor]) -> list[Signal]:
        """Return signals with their rates; tensors are at the encoder's."""
        return [
            signal if isinstance(signal, Signal) else Signal(signal, self.sample_rate)
            for signal in signals
        ]

    def read(self, path: str, segment: Segment | None = None) -> Signal:
        """Read a file, or a segment of it, for `embed`.

        Several threads may call it at once.

        Raises:
            UtteranceError: It cannot be read (see `read_signal`), is too short, or has no speech
                if the encoder embeds that alone.

        """
        self._use_safe_threads()
        signal = read_signal(path, self.normalizer, segment, self.channels)
        if self._detector is not None:
            signal = self._detector.keep_speech(signal, path)
        n_samples = self.normalizer.n_samples(signal)
        if n_samples < self.min_samples:
            raise UtteranceError(
                f"too short: {path} has {n_samples / self.sample_rate:.4f} s, this encoder needs "
                f"{self.min_samples / self.sample_rate:.4f} s"
            )
        return self.prepare(signal)

    def embed_speech_alone(self, detector: SileroDetector) -> None:
        """Let `read` take the pauses out of signals."""
        self._detector = detector
        # The detector hears signals at the encoder's rate.
        self.normalizer.together = False

    def prepare(self, signal: Signal) -> Signal:
        """Prepare a signal that was read for `embed`; by default return it unchanged.

        Toolkits that change signals before they embed them override it. It is called in the
        threads and processes that read, on the CPU.
        """
        return signal

    def autocast(self) -> torch.autocast:
        """Return a context that computes products in bf16 if that is the precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def embed_by_length(
    network: Callable[[torch.Tensor], torch.Tensor], items: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Return the embeddings, (items, dim), of items, (length, ...) each, batched by equal length.

    This is exact for every network that treats the items of an unpadded batch, (items, length,
    ...), independently.
    """
    embeddings: dict[int, torch.Tensor] = {}
    for length in {len(one) for one in items}:
        alike = [i for i, one in enumerate(items) if len(one) == length]
        found = network(torch.stack([items[i] for i in alike]))
        embeddings.update(zip(alike, found, strict=True))
    return torch.stack([embeddings[i] for i in range(len(items))])


def embed_by_length_within(
    budget: BatchBudget,
    network: Callable[[torch.Tensor], torch.Tensor],
    signals: Sequence[torch.Tensor],
) -> torch.Tensor:
    """Return the embeddings as `embed_by_length` does, in batches that fit into memory."""
    found = budget.run(
        lambda batch: embed_by_length(network, batch), signals, [len(one) for one in signals]
    )
    return torch.stack(found)


def load_encoder(
    toolkit: str, source: Path, device: str, precision: str, frontend: Frontend | None = None
) -> Encoder:
    """Load an encoder from a local folder or file onto a device, as `choose_device` returns it.

    Raises:
        EncoderError: The files are missing, damaged or of another kind, the toolkit is not
            installed, or the device does not support the precision.

    """
    known = toolkit_named(toolkit)
    if problem := precision_problem(toolkit, precision):
        raise EncoderError(f"xvector.precision: {problem}")
    if precision == "bf16" and not has_bf16(device):
        raise EncoderError(
            f"xvector.precision: bf16 is not native to this machine's {device} and would only be "
            "slow; use fp32"
        )
    encoder_class = import_class(known.encoder, "xvector.toolkit")
    options = {"frontend": frontend} if known.has_frontend else {}
    encoder: Encoder = encoder_class(source, device, precision, **options)
    return encoder
