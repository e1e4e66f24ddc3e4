"""RawNet3 as the recipes of ESPnet2 and ESPnet3 use it: the mean over ten windows."""

from pathlib import Path

import numpy
import torch

from xvectors.encoders.batch_budget import BatchBudget
from xvectors.encoders.checkpoints import load_weights, weights_under
from xvectors.encoders.device import copy_to_device, float32_products
from xvectors.encoders.encoder import Encoder
from xvectors.encoders.ragged import lay_out
from xvectors.encoders.ragged_rawnet import RaggedRawNet
from xvectors.encoders.rawnet.network import RawNet3
from xvectors.encoders.source import find_only
from xvectors.errors import EncoderError

SAMPLE_RATE = 16000
# As in ESPnet's extract_spk_embed.py and the inference.py of RawNet3's authors: the network was
# trained with segments of three seconds.
WINDOW_SAMPLES = 3 * SAMPLE_RATE
N_WINDOWS = 10
# Windows of a batch. More are not faster on a CPU.
CPU_WINDOWS = 10
GPU_WINDOWS = 100
# On a GPU the number of windows in a batch is a multiple of this, because CUDA's libraries look for
# a way to compute each new number.
WINDOWS_STEP = 10
# Layers of published checkpoints that have no effect on embeddings.
UNUSED = ("bn1", "bn6")


class RawNetEncoder(Encoder):
    """RawNet3: the embedding of a signal is the mean over ten windows of it."""

    sample_rate = SAMPLE_RATE
    min_samples = 1

    def __init__(self, source: Path, device: str, precision: str) -> None:
        """Load the checkpoint at `source`, a file or a folder with one ``.pt`` file."""
        super().__init__(device, precision)
        self.network = _load_network(source).to(self.device)
        self.ragged = None
        if self.device.type == "cpu":
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            self.ragged = RaggedRawNet(self.network, dtype)
        n_windows = CPU_WINDOWS if self.device.type == "cpu" else GPU_WINDOWS
        self.budget = BatchBudget(n_windows, self.device)

    def embed_on_device(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone."""
        n_windows = [len(numpy.unique(_starts(len(signal)))) for signal in signals]
        return torch.stack(self.budget.run(self._embed_batch, signals, n_windows))

    def _embed_batch(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Return the embeddings, (signals, dim).

        Equal windows, which are most of a short signal's, go through the network once. Only the
        features are computed for all ten windows, one signal at a time, as ESPnet does: a batch
        of another size rounds the sinc filters' products differently, and the logarithm of values
        near zero turns that into 1e-4 of an embedding.
        """
        starts = [_starts(len(signal)) for signal in signals]
        firsts, copies = self._distinct(starts)
        features = []
        for signal, own_starts, own_firsts in zip(signals, starts, firsts, strict=True):
            long = _lengthen(signal)
            windows = torch.stack([long[start : start + WINDOW_SAMPLES] for start in own_starts])
            with float32_products():
                features.append(self.network.features(windows).index_select(0, own_firsts))
        frames = self._frames(torch.cat(features))
        with float32_products():
            pooled = self.network.pool(frames.float())
        return pooled.index_select(0, copies).view(len(signals), N_WINDOWS, -1).mean(1)

    def _frames(self, features: torch.Tensor) -> torch.Tensor:
        """Return the network's frames of windows, (windows, channels, frames).

        On a GPU a few copies come last, see `WINDOWS_STEP`. A CPU computes one window at a time,
        which stays in its cache, by products that are faster.
        """
        if self.ragged is None:
            with self.autocast():
                return self.network.frames(_to_multiple(features, WINDOWS_STEP))
        found = []
        for window in features:
            batch, x = lay_out([window.mT], padded=False)
            _, frames = self.ragged(batch, x.to(self.ragged.dtype))
            found.append(frames)
        return torch.stack(found).mT

    def _distinct(self, starts: list[numpy.ndarray]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Find each signal's distinct windows.

        Returns:
            For each signal the numbers of its distinct windows, and for all windows of all
            signals, (signals * N_WINDOWS,), their rows among the distinct ones. The indices are
            copied to the device in one go, because each copy makes a GPU wait.

        """
        found = [numpy.unique(one, return_index=True, return_inverse=True) for one in starts]
        n_distinct = [len(firsts) for _, firsts, _ in found]
        offsets = numpy.cumsum([0, *n_distinct[:-1]])
        firsts = [firsts for _, firsts, _ in found]
        copies = [copies + offset for (_, _, copies), offset in zip(found, offsets, strict=True)]
        indices = torch.from_numpy(numpy.concatenate(firsts + copies))
        sizes = [*n_distinct, len(indices) - sum(n_distinct)]
        *on_device, last = torch.split(copy_to_device(indices, self.device), sizes)
        return on_device, last


def _starts(n_samples: int) -> numpy.ndarray:
    """Return the first samples of the ten windows; most of a short signal's are equal."""
    last = max(n_samples - WINDOW_SAMPLES, 1 if n_samples < WINDOW_SAMPLES else 0)
    return numpy.linspace(0, last, N_WINDOWS).astype(int)


def _lengthen(signal: torch.Tensor) -> torch.Tensor:
    """Repeat a signal that is shorter than a window to one sample more than a window."""
    if len(signal) >= WINDOW_SAMPLES:
        return signal
    return signal[torch.arange(WINDOW_SAMPLES + 1, device=signal.device) % len(signal)]


def _to_multiple(items: torch.Tensor, step: int) -> torch.Tensor:
    """Return items and as many copies of the first as make their number a multiple of `step`."""
    n_missing = -len(items) % step
    return torch.cat([items, items[:1].expand(n_missing, *items.shape[1:])])


def _load_network(source: Path) -> RawNet3:
    path = find_only(source, "*.pt")
    weights = weights_under("model", path, "RawNet3")
    try:
        network = RawNet3.shaped_like(weights)
    except (KeyError, ValueError, AttributeError, IndexError) as error:
        raise EncoderError(f"{path}: not the weights of RawNet3: {error} is missing") from error
    load_weights(network, weights, path, UNUSED)
    return network.eval()
