"""SpeechBrain's encoders: ECAPA-TDNN and the others of its EncoderClassifier family."""

import logging
from pathlib import Path

import torch
from speechbrain.dataio.preprocess import AudioNormalizer
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

from xvectors.config import first_line
from xvectors.encoders import Encoder
from xvectors.errors import EncoderError
from xvectors.long_signals import (
    ChunkedEcapa,
    fbank_in_chunks,
    is_plain_fbank,
    reflect_padding,
    reflecting_convolutions,
)
from xvectors.packed_ecapa import PackedEcapa, is_covered

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
# ECAPA-TDNN keeps some twenty matrices of (frames, channels): a longer signal is embedded in
# chunks, with the same result, so that an hour of speech fits into memory.
MAX_WHOLE_SECONDS = 60


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
        self.packed = _pack(model, precision)
        self._normalizer = AudioNormalizer(sample_rate=SAMPLE_RATE)

    def normalize(self, signal: torch.Tensor, sample_rate: int) -> torch.Tensor:
        """Bring a signal to 16 kHz, mono, with SpeechBrain's AudioNormalizer."""
        normalized: torch.Tensor = self._normalizer(signal, sample_rate)
        return normalized

    def embed(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone."""
        embeddings: dict[int, torch.Tensor] = {}
        with torch.inference_mode():
            if self.packed is not None:
                short = [i for i, signal in enumerate(signals) if not _is_long(signal)]
                features = [self._features(signals[i], in_chunks=False)[0] for i in short]
                embeddings.update(zip(short, self.packed.embed(features), strict=True))
            for i, signal in enumerate(signals):
                if i not in embeddings:
                    embeddings[i] = self._embed_alone(signal)
            return torch.stack([embeddings[i] for i in range(len(signals))]).float().cpu()

    def _embed_alone(self, signal: torch.Tensor) -> torch.Tensor:
        """Return the embedding, shape (dim,), of a long signal, or by a model of another kind."""
        model = self.classifier.mods["embedding_model"]
        in_chunks = _is_long(signal) and isinstance(model, ECAPA_TDNN)
        features = self._features(signal, in_chunks)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if in_chunks:
                embedding = ChunkedEcapa(model, features).embed()
            else:
                embedding = model(features, torch.ones(1, device=self.device))
        return embedding.reshape(-1)

    def _features(self, signal: torch.Tensor, in_chunks: bool) -> torch.Tensor:
        """Return normalized features, (1, frames, mels), of a signal of shape (samples,)."""
        modules = self.classifier.mods
        batch = signal[None].to(self.device)
        if in_chunks and is_plain_fbank(modules["compute_features"]):
            features = fbank_in_chunks(modules["compute_features"], batch)
        else:
            features = modules["compute_features"](batch)
        normalized: torch.Tensor = modules["mean_var_norm"](
            features, torch.ones(1, device=self.device)
        )
        return normalized


def _is_long(signal: torch.Tensor) -> bool:
    return len(signal) > MAX_WHOLE_SECONDS * SAMPLE_RATE


def _pack(model: torch.nn.Module, precision: str) -> PackedEcapa | None:
    """Return the fast form of a model, None (which is said) where there is none."""
    if not is_covered(model):
        logger.info("no fast form of %s: utterances go through one by one", type(model).__name__)
        return None
    return PackedEcapa(model, torch.bfloat16 if precision == "bf16" else torch.float32)


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
        raise EncoderError(
            f"{source}: SpeechBrain cannot load this encoder: "
            f"{type(error).__name__}: {first_line(error)}"
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
    padding = max(map(reflect_padding, reflecting_convolutions(model)), default=0)
    hop = getattr(getattr(compute_features, "compute_STFT", None), "hop_length", 160)
    return max(padding * hop, 1)
