"""SpeechBrain's encoders: ECAPA-TDNN and the others of its EncoderClassifier family."""

from pathlib import Path

import torch
from speechbrain.dataio.preprocess import AudioNormalizer
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

from xvectors.encoders import Encoder
from xvectors.errors import EncoderError
from xvectors.long_signals import (
    ChunkedEcapa,
    fbank_in_chunks,
    is_plain_fbank,
    reflect_padding,
    reflecting_convolutions,
)

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
        if in_chunks and is_plain_fbank(modules["compute_features"]):
            features = fbank_in_chunks(modules["compute_features"], batch)
        else:
            features = modules["compute_features"](batch)
        features = modules["mean_var_norm"](features, whole)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if in_chunks:
                embedding = ChunkedEcapa(modules["embedding_model"], features).embed()
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
    padding = max(map(reflect_padding, reflecting_convolutions(model)), default=0)
    hop = getattr(getattr(compute_features, "compute_STFT", None), "hop_length", 160)
    return max(padding * hop, 1)
