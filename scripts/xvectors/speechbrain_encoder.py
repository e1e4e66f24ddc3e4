"""SpeechBrain's encoders: ECAPA-TDNN and the others of its EncoderClassifier family."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Encoders are local files here; a job must never ask the hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from speechbrain.dataio.preprocess import AudioNormalizer
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, SEBlock, SERes2NetBlock
from speechbrain.nnet.CNN import Conv1d
from speechbrain.processing.features import spectral_magnitude

from xvectors.encoders import Encoder
from xvectors.errors import EncoderError

SAMPLE_RATE = 16000
# ECAPA-TDNN keeps some twenty matrices of (frames, channels): a longer signal is embedded in
# chunks, with the same result, so that an hour of speech fits into memory.
MAX_WHOLE_SECONDS = 60
CHUNK_FRAMES = 3000


class SpeechBrainEncoder(Encoder):
    """An encoder of SpeechBrain's EncoderClassifier family.

    Every signal gets the embedding that ``EncoderClassifier.encode_batch`` gives for it alone.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, source: Path, device: str, precision: str) -> None:
        """Load the encoder in the folder `source`, see `load_encoder`."""
        self.device = torch.device(device)
        self.precision = precision
        _set_matmul_precision(precision)
        self.classifier = _load_classifier(source, device)
        model = self.classifier.mods["embedding_model"]
        self.min_samples = _min_samples(model, self.classifier.mods["compute_features"])
        self._normalizer = AudioNormalizer(sample_rate=SAMPLE_RATE)

    def normalize(self, signal: torch.Tensor, sample_rate: int) -> torch.Tensor:
        """Bring a signal to 16 kHz, mono, with SpeechBrain's AudioNormalizer."""
        normalized: torch.Tensor = self._normalizer(signal, sample_rate)
        return normalized

    def embed(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone."""
        with torch.inference_mode():
            return torch.stack([self._embed(signal) for signal in signals]).float().cpu()

    def _embed(self, signal: torch.Tensor) -> torch.Tensor:
        """Return the embedding, shape (dim,), of one signal of shape (samples,)."""
        modules = self.classifier.mods
        is_long = len(signal) > MAX_WHOLE_SECONDS * SAMPLE_RATE
        in_chunks = is_long and isinstance(modules["embedding_model"], ECAPA_TDNN)
        batch = signal[None].to(self.device)
        whole = torch.ones(1, device=self.device)
        if in_chunks and _is_plain_fbank(modules["compute_features"]):
            features = _fbank_in_chunks(modules["compute_features"], batch)
        else:
            features = modules["compute_features"](batch)
        features = modules["mean_var_norm"](features, whole)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if in_chunks:
                embedding = _ecapa_in_chunks(modules["embedding_model"], features)
            else:
                embedding = modules["embedding_model"](features, whole)
        return embedding.reshape(-1)


def _load_classifier(source: Path, device: str) -> EncoderClassifier:
    """Load a folder as SpeechBrain does, but with its paths pointing into the folder itself."""
    hyperparams = source / "hyperparams.yaml"
    if not hyperparams.is_file():
        raise EncoderError(f"{source}: no SpeechBrain encoder, hyperparams.yaml is missing")
    # The hub's own files name their hub id there, which would be asked at every load.
    names_path = any(
        line.startswith("pretrained_path:")
        for line in hyperparams.read_text(encoding="utf-8").splitlines()
    )
    try:
        return EncoderClassifier.from_hparams(
            source=str(source),
            savedir=None,
            overrides={"pretrained_path": str(source)} if names_path else {},
            run_opts={"device": device},
        )
    except Exception as error:  # whatever a damaged yaml or checkpoint may raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise EncoderError(
            f"{source}: SpeechBrain cannot load this encoder: {type(error).__name__}: {reason}"
        ) from error


def _set_matmul_precision(precision: str) -> None:
    """Let GPUs round float32 products to TF32 only when asked (PyTorch's default is a mix)."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def _min_samples(model: torch.nn.Module, compute_features: torch.nn.Module) -> int:
    """Return the samples that give one frame more than the widest reflect padding.

    Reflecting needs more frames than it adds on a side; a centred STFT gives
    1 + samples // hop frames.
    """
    padding = max((_padding(module) for module in _reflecting(model)), default=0)
    hop = getattr(getattr(compute_features, "compute_STFT", None), "hop_length", 160)
    return max(padding * hop, 1)


def _reflecting(model: torch.nn.Module) -> Iterator[Conv1d]:
    for module in model.modules():
        if isinstance(module, Conv1d) and module.padding_mode == "reflect":
            yield module


def _padding(convolution: Conv1d) -> int:
    """Return the frames that a convolution with padding "same" adds on each side."""
    return int(convolution.dilation * (convolution.kernel_size - 1) // 2)


def _is_plain_fbank(compute_features: torch.nn.Module) -> bool:
    return (
        type(compute_features) is Fbank
        and not compute_features.deltas
        and not compute_features.context
        and compute_features.compute_STFT.center
        and compute_features.compute_STFT.pad_mode == "constant"
    )


def _chunks(n_frames: int, halo: int) -> Iterator[tuple[slice, slice]]:
    """Yield pairs of slices: a chunk with its halo, and within that what belongs to the chunk."""
    for start in range(0, n_frames, CHUNK_FRAMES):
        end = min(start + CHUNK_FRAMES, n_frames)
        first, last = max(start - halo, 0), min(end + halo, n_frames)
        yield slice(first, last), slice(start - first, end - first)


def _fbank_in_chunks(fbank: Fbank, signal: torch.Tensor) -> torch.Tensor:
    """Return ``fbank(signal)``, (1, frames, mels) from (1, samples), chunk by chunk.

    SpeechBrain cuts decibels off at `top_db` below the loudest value of its input. A chunk's
    own cut lies at or below that of the whole, so cutting once more afterwards is exact, as
    long as the frames at a chunk's inner edges, which see a cut-off signal, stay out of it.
    """
    stft, filterbank = fbank.compute_STFT, fbank.compute_fbanks
    halo = -(-stft.n_fft // (2 * stft.hop_length))
    n_frames = 1 + signal.shape[1] // stft.hop_length
    parts = []
    for frames, kept in _chunks(n_frames, halo):
        end = None if frames.stop == n_frames else (frames.stop - 1) * stft.hop_length + 1
        samples = signal[:, frames.start * stft.hop_length : end]
        magnitudes = spectral_magnitude(stft(samples))[:, kept]
        parts.append(filterbank(magnitudes))
    features = torch.cat(parts, dim=1)
    return features.clamp(min=features.amax() - filterbank.top_db)


def _ecapa_in_chunks(model: ECAPA_TDNN, features: torch.Tensor) -> torch.Tensor:
    """Return ``model(features)``, (1, 1, dim) from (1, frames, mels), in little memory.

    The convolutions look no further than `halo` frames, so they run chunk by chunk; at the
    utterance's own ends they reflect as ever. What looks at the whole utterance, the
    squeeze-and-excitation means and the attentive statistics, is summed up over the chunks in
    float64, one pass for each, as each depends on the one before.
    """
    features = features.transpose(1, 2)
    halo = sum(_padding(module) for module in _reflecting(model))
    chunks = list(_chunks(features.shape[2], halo))
    n_frames = features.shape[2]
    gates: list[torch.Tensor] = []
    for block in model.blocks[1:]:
        total = sum(
            _squeezed(model, features[:, :, frames], gates)[:, :, kept].double().sum(2)
            for frames, kept in chunks
        )
        gates.append(_gate(block.se_block, total / n_frames))
    total = squares = 0.0
    for frames, kept in chunks:
        x = _aggregated(model, features[:, :, frames], gates)[:, :, kept].double()
        total, squares = total + x.sum(2), squares + x.square().sum(2)
    mean, std = _mean_and_std(total / n_frames, squares / n_frames, model.asp.eps)
    pooled = _attentive_statistics(model, features, chunks, gates, mean, std)
    return model.fc(model.asp_bn(pooled[:, :, None])).transpose(1, 2)


def _gate(se_block: SEBlock, mean: torch.Tensor) -> torch.Tensor:
    """Return a block's channel weights, (1, channels, 1), from its means, (1, channels)."""
    squeezed = se_block.relu(se_block.conv1(mean.float()[:, :, None]))
    gate: torch.Tensor = se_block.sigmoid(se_block.conv2(squeezed))
    return gate


def _squeezed(model: ECAPA_TDNN, x: torch.Tensor, gates: list[torch.Tensor]) -> torch.Tensor:
    """Return what the next block's squeeze-and-excitation averages, (1, channels, frames)."""
    x = _trunk(model, x, gates)[-1]
    return _before_gate(model.blocks[1 + len(gates)], x)


def _aggregated(model: ECAPA_TDNN, x: torch.Tensor, gates: list[torch.Tensor]) -> torch.Tensor:
    """Return the multi-layer aggregation, (1, channels, frames)."""
    aggregated: torch.Tensor = model.mfa(torch.cat(_trunk(model, x, gates)[1:], dim=1))
    return aggregated


def _trunk(model: ECAPA_TDNN, x: torch.Tensor, gates: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the outputs of the first layer and of the blocks whose gates are known."""
    outputs = [model.blocks[0](x)]
    for block, gate in zip(model.blocks[1:], gates, strict=False):
        x = outputs[-1]
        residual = block.shortcut(x) if block.shortcut else x
        outputs.append(gate * _before_gate(block, x) + residual)
    return outputs


def _before_gate(block: SERes2NetBlock, x: torch.Tensor) -> torch.Tensor:
    """Return what a block's squeeze-and-excitation gets, (1, channels, frames)."""
    squeezed: torch.Tensor = block.tdnn2(block.res2net_block(block.tdnn1(x)))
    return squeezed


def _mean_and_std(
    mean: torch.Tensor, mean_square: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float32 mean and standard deviation from float64 moments."""
    return mean.float(), (mean_square - mean.square()).clamp(min=eps).sqrt().float()


def _attentive_statistics(
    model: ECAPA_TDNN,
    features: torch.Tensor,
    chunks: list[tuple[slice, slice]],
    gates: list[torch.Tensor],
    mean: torch.Tensor,
    std: torch.Tensor,
) -> torch.Tensor:
    """Return the attentive mean and deviation, (1, 2 channels), by a softmax over all chunks.

    The running maximum keeps the exponentials in range; when it grows, what is summed so far
    shrinks by the same factor.
    """
    pooling = model.asp
    highest = torch.full_like(mean, -torch.inf, dtype=torch.float64)
    weight, total, squares = (torch.zeros_like(highest) for _ in range(3))
    for frames, kept in chunks:
        x = _aggregated(model, features[:, :, frames], gates)[:, :, kept]
        context = [x]
        if pooling.global_context:
            context += [statistic[:, :, None].expand_as(x) for statistic in (mean, std)]
        logits = pooling.conv(pooling.tanh(pooling.tdnn(torch.cat(context, dim=1)))).double()
        new_highest = torch.maximum(highest, logits.amax(2))
        shrink = torch.exp(highest - new_highest)
        weights = torch.exp(logits - new_highest[:, :, None])
        x = x.double()
        weight = weight * shrink + weights.sum(2)
        total = total * shrink + (weights * x).sum(2)
        squares = squares * shrink + (weights * x.square()).sum(2)
        highest = new_highest
    return torch.cat(_mean_and_std(total / weight, squares / weight, pooling.eps), dim=1)
