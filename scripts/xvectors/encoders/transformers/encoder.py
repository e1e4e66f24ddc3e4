"""Encoders of transformers: a model for speech, a TDNN on its frames, statistics."""

import os
from pathlib import Path
from typing import Any

import torch
import transformers

from xvectors.audio.signal import Segment, Signal
from xvectors.encoders.batch_budget import BatchBudget
from xvectors.encoders.checkpoints import load_weights, read_checkpoint, read_safetensors
from xvectors.encoders.device import float32_products
from xvectors.encoders.encoder import Encoder, embed_by_length_within
from xvectors.encoders.shortest import find_shortest
from xvectors.encoders.transformers.folder import CONFIG, EncoderFolder, read_folder
from xvectors.errors import EncoderError, UtteranceError, first_line

# Seconds of a batch.
CPU_SECONDS = 30
GPU_SECONDS = 300
# Added to the variance, as in transformers.
EPSILON = 1e-7
# Matrices of frames by frames, of float32, that attention holds at a time for each head.
ATTENTION_COPIES = 4
# Share of a machine's memory that they may take.
MAX_MEMORY_SHARE = 0.5
# Weights of the training's speakers, and of masks in training.
OBJECTIVE = "objective"
MASK = "masked_spec_embed"


class TransformersEncoder(Encoder):
    """An encoder of transformers with an x-vector head.

    Every signal gets the ``embeddings`` that the model gives for it alone, which are not
    normalized. Only signals of equal length are batched: transformers' own lengths of frames are
    wrong for padded signals.
    """

    def __init__(self, source: Path, device: str, precision: str) -> None:
        folder = read_folder(source)
        self.sample_rate = folder.sample_rate
        super().__init__(device, precision)
        self.is_normalized = folder.is_normalized
        self.model = _load_model(folder, source).to(self.device)
        self.max_samples = self._max_samples() if self.device.type == "cpu" else None
        seconds = CPU_SECONDS if self.device.type == "cpu" else GPU_SECONDS
        self.budget = BatchBudget(seconds * self.sample_rate, self.device)
        self.min_samples = find_shortest(self.embed, self.sample_rate, source)

    def embed_on_device(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone."""
        if self.is_normalized:
            signals = [_normalized(signal) for signal in signals]
        return embed_by_length_within(self.budget, self._embed_batch, signals)

    def _embed_batch(self, signals: torch.Tensor) -> torch.Tensor:
        with float32_products():
            found: torch.Tensor = self.model(signals).embeddings
        return found

    def read(self, path: str, segment: Segment | None = None) -> Signal:
        """Read a file, as `Encoder.read`, and refuse one whose attention exceeds the memory."""
        signal = super().read(path, segment)
        n_samples = self.normalizer.n_samples(signal)
        if self.max_samples is not None and n_samples > self.max_samples:
            seconds, most = n_samples / self.sample_rate, self.max_samples / self.sample_rate
            raise UtteranceError(
                f"too long: {seconds:.0f} s, and the attention of this encoder fills this "
                f"machine's memory from {most:.0f} s on; make segments of it (start= and end= in "
                "the manifest)"
            )
        return signal

    def _max_samples(self) -> int:
        """Return the samples of the longest signal whose attention fits into memory."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        config = self.model.config
        per_square = ATTENTION_COPIES * config.num_attention_heads * torch.float32.itemsize
        n_frames = (MAX_MEMORY_SHARE * memory / per_square) ** 0.5
        return int(n_frames * config.inputs_to_logits_ratio)


def _normalized(signal: torch.Tensor) -> torch.Tensor:
    """Return a signal with mean 0 and variance 1."""
    return (signal - signal.mean()) / (signal.var(unbiased=False) + EPSILON).sqrt()


def _load_model(folder: EncoderFolder, source: Path) -> Any:
    """Return the model with its weights, all of them.

    transformers' own loading would leave missing weights at random.
    """
    model_class = getattr(transformers, folder.architecture)
    try:
        model = model_class(model_class.config_class.from_dict(dict(folder.config)))
    except Exception as error:  # bad settings may raise anything
        raise EncoderError(
            f"{source / CONFIG}: transformers cannot build this encoder: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    read = read_safetensors if folder.weights.suffix == ".safetensors" else read_checkpoint
    weights = dict(read(folder.weights))
    model.objective = None
    for name, value in model.state_dict().items():
        if name.endswith(MASK):
            weights.setdefault(name, value)
    load_weights(model, weights, folder.weights, unused=(OBJECTIVE,))
    return model.eval()
