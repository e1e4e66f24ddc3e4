"""Encoders that are ONNX graphs, run by onnxruntime."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from xvectors.config.settings import Frontend
from xvectors.encoders.device import float32_products
from xvectors.encoders.encoder import Encoder
from xvectors.encoders.onnx.features import Features, make_extractor
from xvectors.encoders.onnx.graph import Graph
from xvectors.encoders.shortest import find_shortest

# Seconds of a batch.
CPU_SECONDS = 30
GPU_SECONDS = 300


class OnnxEncoder(Encoder):
    """A speaker encoder as an ONNX graph.

    Nothing is known of a graph's layers, so only signals of equal length are batched, and only if
    a try shows that this changes nothing. Batches go side by side in threads.
    """

    def __init__(
        self, source: Path, device: str, precision: str, frontend: Frontend | None = None
    ) -> None:
        """Load the graph at `source`, a file or a folder with one.

        Without a front end, the graph's metadata tell it.
        """
        self.graph = Graph(source, frontend, device)
        self.sample_rate = self.graph.frontend.sample_rate
        self.channels = self.graph.frontend.channels
        super().__init__(device, precision)
        self.extract = make_extractor(self.graph.frontend, self.device)
        self.max_seconds = CPU_SECONDS if self.device.type == "cpu" else GPU_SECONDS
        self.min_samples = find_shortest(self.embed, self.sample_rate, self.graph.path)

    def embed_on_device(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone."""
        with float32_products():
            features = [self.extract(signal) for signal in signals]
        n_threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        batches = self._divide(signals, n_threads)
        with ThreadPoolExecutor(n_threads) as pool:
            found = pool.map(lambda batch: self._run([features[i] for i in batch]), batches)
            rows = torch.cat(list(found))
        order = torch.tensor([i for batch in batches for i in batch])
        return rows[order.argsort()].to(self.device)

    def _divide(self, signals: Sequence[torch.Tensor], n_threads: int) -> list[list[int]]:
        """Divide signals into batches of equal length, and these among threads."""
        places: dict[int, list[int]] = {}
        for place, signal in enumerate(signals):
            places.setdefault(len(signal), []).append(place)
        batches = []
        for length, alike in places.items():
            size = max(1, self.max_seconds * self.sample_rate // length)
            size = min(size, -(-len(alike) // n_threads), self.graph.max_batch or size)
            batches += [alike[first : first + size] for first in range(0, len(alike), size)]
        return batches

    def _run(self, batch: list[Features]) -> torch.Tensor:
        """Return the embeddings, (signals, dim), of features of equal length."""
        values = torch.stack([one.values for one in batch]).cpu().numpy()
        return torch.from_numpy(self.graph.run(values, batch[0].length))
