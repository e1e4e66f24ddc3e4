"""RawNet3 as the numerics of ESPnet2 and ESPnet3 use it: the mean over ten windows."""

from pathlib import Path

import numpy
import torch

from xvectors.encoders.batch_budget import BatchBudget
from xvectors.encoders.checkpoints import load_weights, read_checkpoint
from xvectors.encoders.device import float32_products
from xvectors.encoders.encoder import Encoder
from xvectors.encoders.rawnet.network import RawNet3
from xvectors.errors import EncoderError

SAMPLE_RATE = 16000
# As in ESPnet's extract_spk_embed.py, and in the inference.py of RawNet3's authors: the network
# was trained with segments of three seconds.
WINDOW_SAMPLES = 3 * SAMPLE_RATE
N_WINDOWS = 10
# Windows that go through the network at a time; on a CPU more make nothing faster.
CPU_WINDOWS = 10
GPU_WINDOWS = 100
# Layers that published checkpoints have and that have no effect on embeddings.
UNUSED = ("bn1.", "bn6.")


class RawNetEncoder(Encoder):
    """RawNet3: the embedding of a signal is the mean over ten windows of it."""

    sample_rate = SAMPLE_RATE
    min_samples = 1

    def __init__(self, source: Path, device: str, precision: str) -> None:
        """Load the checkpoint at `source`, a file or a folder with one ``.pt`` file."""
        super().__init__(device, precision)
        self.network = _load_network(source).to(self.device)
        n_windows = CPU_WINDOWS if self.device.type == "cpu" else GPU_WINDOWS
        self.budget = BatchBudget(n_windows, self.device)

    def embed_on_device(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone."""
        n_windows = [len(numpy.unique(_starts(len(signal)))) for signal in signals]
        return torch.stack(self.budget.run(self._embed_pack, signals, n_windows))

    def _embed_pack(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Return the embeddings, (signals, dim).

        Windows that are the same, as most of a short signal are, go through the network once.
        Only features are computed of all ten, and of one signal at a time, as ESPnet does: a
        batch of another size rounds the sinc filters' products otherwise, and the logarithm of
        what is nearly zero makes that 1e-4 of an embedding.
        """
        features, copies = [], []
        for signal in signals:
            starts = _starts(len(signal))
            long = _lengthen(signal)
            windows = torch.stack([long[start : start + WINDOW_SAMPLES] for start in starts])
            _, firsts, indices = numpy.unique(starts, return_index=True, return_inverse=True)
            with float32_products():
                features.append(self.network.features(windows)[torch.from_numpy(firsts)])
            copies.append(torch.from_numpy(indices))
        with self.autocast():
            frames = self.network.frames(torch.cat(features))
        with float32_products():
            pooled = self.network.pool(frames.float())
        found = torch.split(pooled, [len(one) for one in features])
        pairs = zip(found, copies, strict=True)
        return torch.stack([embeddings[indices].mean(0) for embeddings, indices in pairs])


def _starts(n_samples: int) -> numpy.ndarray:
    """Return the first samples of the ten windows; those of a short signal are nearly alike."""
    last = max(n_samples - WINDOW_SAMPLES, 1 if n_samples < WINDOW_SAMPLES else 0)
    return numpy.linspace(0, last, N_WINDOWS).astype(int)


def _lengthen(signal: torch.Tensor) -> torch.Tensor:
    """Return a signal shorter than a window repeated up to a sample more than a window."""
    if len(signal) >= WINDOW_SAMPLES:
        return signal
    return signal[torch.arange(WINDOW_SAMPLES + 1) % len(signal)]


def _load_network(source: Path) -> RawNet3:
    found = [source] if source.is_file() else sorted(source.glob("*.pt"))
    if len(found) != 1:
        raise EncoderError(f"{source}: {len(found)} .pt files where one is needed")
    weights = read_checkpoint(found[0]).get("model")
    if not isinstance(weights, dict):
        raise EncoderError(f"{found[0]}: no RawNet3 checkpoint, there are no weights under `model`")
    weights = {name: one for name, one in weights.items() if not name.startswith(UNUSED)}
    try:
        network = RawNet3.shaped_like(weights)
    except (KeyError, ValueError, AttributeError, IndexError) as error:
        raise EncoderError(f"{found[0]}: not the weights of RawNet3: no {error}") from error
    load_weights(network, weights, found[0])
    return network.eval()
