"""SpeechBrain's encoders: ECAPA-TDNN and the rest of the EncoderClassifier family."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.lobes.models.ResNet import ResNet

from xvectors.encoders.batch_budget import BatchBudget
from xvectors.encoders.device import float32_products, free_unused_memory, is_out_of_memory
from xvectors.encoders.encoder import Encoder, embed_by_length
from xvectors.encoders.ragged import Padded
from xvectors.encoders.speechbrain import ragged_ecapa, ragged_xvector
from xvectors.encoders.speechbrain.chunked_ecapa import (
    CPU_CHUNK_FRAMES,
    GPU_CHUNK_FRAMES,
    ChunkedEcapa,
    Chunking,
    reflect_padding,
    reflecting_convolutions,
)
from xvectors.encoders.speechbrain.features import Features
from xvectors.encoders.speechbrain.padded_resnet import PaddedResNet
from xvectors.encoders.speechbrain.ragged_ecapa import RaggedEcapa
from xvectors.encoders.speechbrain.ragged_xvector import RaggedXvector
from xvectors.encoders.speechbrain.workarounds import local_overrides, numbered_device
from xvectors.errors import EncoderError, first_line

logger = logging.getLogger(__name__)

Form = RaggedEcapa | RaggedXvector | PaddedResNet

SAMPLE_RATE = 16000
# ECAPA-TDNN keeps some twenty matrices of (frames, channels). Longer signals are embedded in
# chunks, with the same result, so that an hour of speech fits into memory. On a CPU chunks take
# four times as long, and as much memory as two minutes at once.
CPU_WHOLE_FRAMES = 12_000
GPU_WHOLE_FRAMES = 6_000
# Frames of a batch. More do not make the products faster, see docs/measurements/cpu.md.
CPU_FRAMES = 3000
GPU_FRAMES = 60000


class SpeechBrainEncoder(Encoder):
    """An encoder of SpeechBrain's EncoderClassifier family.

    Every signal gets the embedding that ``EncoderClassifier.encode_batch`` gives for it alone.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, source: Path, device: str, precision: str) -> None:
        """Load the encoder in the folder `source`, see `load_encoder`."""
        super().__init__(device, precision)
        self.classifier = _load_classifier(source, device)
        model = self.classifier.mods["embedding_model"]
        self.hop_length = _hop_length(self.classifier.mods["compute_features"])
        self.min_samples = _min_samples(model, self.hop_length)
        self.features = Features(self.classifier.mods, self.device)
        self.ragged = _ragged_form(model, precision, self.device)
        self.budget = _budget(self.ragged, self.device)
        is_gpu = self.device.type == "cuda"
        self.chunking = Chunking(GPU_CHUNK_FRAMES if is_gpu else CPU_CHUNK_FRAMES, is_even=is_gpu)

    def embed_on_device(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone."""
        network = self.ragged.embed if self.ragged else self._embed_by_length
        has_pieces = isinstance(self.classifier.mods["embedding_model"], ECAPA_TDNN)
        found = self.budget.run(
            lambda batch: network(self._features(batch)),
            signals,
            [1 + len(signal) // self.hop_length for signal in signals],
            self._embed_in_pieces if has_pieces else None,
        )
        return torch.stack(found)

    def _features(self, signals: list[torch.Tensor]) -> Sequence[torch.Tensor] | Padded:
        """Return features, (frames, mels) each, in float32: spectrograms have a wide range."""
        with float32_products():
            return self.features(signals)

    def _embed_in_pieces(self, signal: torch.Tensor) -> torch.Tensor:
        """Return the embedding, shape (dim,), of a long signal, using little memory."""
        try:
            return self._embed_in_chunks(signal)
        except RuntimeError as error:
            if not is_out_of_memory(error) or self.chunking.n_own <= CPU_CHUNK_FRAMES:
                raise
        # Here the traceback no longer keeps the failed chunk in memory.
        free_unused_memory(self.device)
        self.chunking = self.chunking._replace(n_own=CPU_CHUNK_FRAMES)
        return self._embed_in_chunks(signal)

    def _embed_in_chunks(self, signal: torch.Tensor) -> torch.Tensor:
        with float32_products():
            features = self.features.of_long(signal, self.chunking)
        with self.autocast():
            model = self.classifier.mods["embedding_model"]
            return ChunkedEcapa(model, features, self.chunking).embed().flatten()

    def _embed_by_length(self, features: Sequence[torch.Tensor] | Padded) -> torch.Tensor:
        """Return the embeddings, (utterances, dim), by the model's own modules."""
        parts = features.unpadded() if isinstance(features, Padded) else features
        return embed_by_length(self._embed_batch, parts)

    def _embed_batch(self, features: torch.Tensor) -> torch.Tensor:
        model = self.classifier.mods["embedding_model"]
        with self.autocast():
            found: torch.Tensor = model(features, torch.ones(len(features), device=self.device))
        return found.flatten(1)


def _ragged_form(model: torch.nn.Module, precision: str, device: torch.device) -> Form | None:
    """Return the fast form of a model, or None, with a log line, if there is none."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    padded = device.type != "cpu"
    if ragged_ecapa.is_covered(model):
        return RaggedEcapa(model, dtype, padded)
    if ragged_xvector.is_covered(model):
        return RaggedXvector(model, dtype, padded)
    if type(model) is ResNet and padded:
        return PaddedResNet(model, dtype)
    name = type(model).__name__
    logger.info("no fast form of %s: only utterances of equal length are batched", name)
    return None


def _budget(ragged: Form | None, device: torch.device) -> BatchBudget:
    """Return the budget of a batch: on a GPU as many frames as help and fit its free memory.

    Other processes may need that memory for a while only, so the budget can grow.
    """
    if device.type != "cuda":
        return BatchBudget(CPU_FRAMES, device, CPU_WHOLE_FRAMES)
    if ragged is None:
        return BatchBudget(GPU_FRAMES, device, GPU_WHOLE_FRAMES)
    free, _ = torch.cuda.mem_get_info(device)
    n_frames = min(GPU_FRAMES, free // (2 * ragged.bytes_per_frame))
    longest = max(n_frames, GPU_WHOLE_FRAMES)
    return BatchBudget(n_frames, device, longest, most=GPU_FRAMES, most_longest=GPU_FRAMES)


def _load_classifier(source: Path, device: str) -> EncoderClassifier:
    """Load a folder as SpeechBrain does, but from the folder alone."""
    if not (source / "hyperparams.yaml").is_file():
        raise EncoderError(f"{source}: not a SpeechBrain encoder, hyperparams.yaml is missing")
    try:
        return EncoderClassifier.from_hparams(
            source=str(source),
            savedir=None,
            overrides=local_overrides(source),
            run_opts={"device": numbered_device(device)},
        )
    except Exception as error:  # a damaged yaml or checkpoint may raise anything
        raise EncoderError(
            f"{source}: SpeechBrain cannot load this encoder: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error


def _hop_length(compute_features: torch.nn.Module) -> int:
    """Return the samples between two frames, 10 ms if the features do not say."""
    return getattr(getattr(compute_features, "compute_STFT", None), "hop_length", 160)


def _min_samples(model: torch.nn.Module, hop_length: int) -> int:
    """Return the samples that give one frame more than the widest reflect padding.

    Reflection needs more frames than it adds on a side. A centred STFT gives 1 + samples // hop
    frames.
    """
    padding = max(map(reflect_padding, reflecting_convolutions(model)), default=0)
    return max(padding * hop_length, 1)
