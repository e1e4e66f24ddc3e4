"""ESPnet's encoders: all models that ESPnet-SPK trains."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from espnet2.asr.frontend.asteroid_frontend import AsteroidFrontend

from xvectors.encoders.batch_budget import BatchBudget
from xvectors.encoders.checkpoints import load_weights, read_checkpoint
from xvectors.encoders.device import copy_to_device, float32_products
from xvectors.encoders.encoder import Encoder, embed_by_length_within
from xvectors.encoders.espnet.ragged import RaggedModel, is_covered
from xvectors.encoders.espnet.workarounds import Speech2Embedding
from xvectors.encoders.shortest import find_shortest
from xvectors.encoders.source import find_only, unpacked
from xvectors.errors import EncoderError, first_line

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
# Samples of a batch of equal length. More are not faster on a CPU.
CPU_SAMPLES = 30 * SAMPLE_RATE
GPU_SAMPLES = 300 * SAMPLE_RATE
# Frames of a ragged batch. RawNet3 has a thousand in a second, and is slower with more on a CPU.
CPU_FRAMES = 3000
GPU_FRAMES = 60000


class EspnetEncoder(Encoder):
    """An encoder of ESPnet-SPK.

    Every signal gets the embedding that ``Speech2Embedding`` gives for it alone. ESPnet tells the
    lengths of signals to the pooling only, so the other layers would use a signal's padding.
    Therefore batches of any lengths are computed by forms of our own of RawNet3 and ECAPA-TDNN;
    of other encoders only signals of equal length are batched.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, source: Path, device: str, precision: str) -> None:
        """Load the encoder at `source`: a folder, an archive, or a ``.pth`` file."""
        super().__init__(device, precision)
        with unpacked(source) as place:
            self.model = _load_model(*_locate(place), device)
        _keep_filters(self.model)
        self.ragged = _ragged_form(self.model, precision, self.device)
        is_cpu = self.device.type == "cpu"
        self.budget = BatchBudget(CPU_SAMPLES if is_cpu else GPU_SAMPLES, self.device)
        self.min_samples = find_shortest(self.embed, SAMPLE_RATE, source)
        if self.ragged:
            n_frames = CPU_FRAMES if is_cpu else GPU_FRAMES
            self.budget = BatchBudget(n_frames * self._samples_per_frame(), self.device)

    def _samples_per_frame(self) -> int:
        with torch.inference_mode():
            (features,), _ = self._features([torch.zeros(SAMPLE_RATE, device=self.device)])
        return SAMPLE_RATE // features.shape[1]

    def embed_on_device(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone."""
        if self.ragged is None:
            return embed_by_length_within(self.budget, self._embed_batch, signals)
        network = partial(self._embed_ragged, self.ragged)
        lengths = [len(signal) for signal in signals]
        return torch.stack(self.budget.run(network, signals, lengths))

    def _embed_ragged(self, ragged: RaggedModel, signals: list[torch.Tensor]) -> torch.Tensor:
        """Return the embeddings, (utterances, dim), of signals of any lengths."""
        features, n_told = self._features(signals)
        batch, frames = ragged.encode([one[0] for one in features])
        with float32_products():
            pooled = ragged.pool(batch, frames, copy_to_device(n_told, self.device))
            embeddings: torch.Tensor = self.model.project_spk_embd(pooled)
        return embeddings

    def _embed_batch(self, signals: torch.Tensor) -> torch.Tensor:
        """Return the embeddings, (utterances, dim), of (utterances, samples)."""
        features, n_told = self._features(signals.unbind())
        with self.autocast():
            frames = self.model.encode_frame(torch.cat(features))
        with float32_products():
            pooled = self.model.pooling(frames.float(), feat_lengths=n_told)
            embeddings: torch.Tensor = self.model.project_spk_embd(pooled)
        return embeddings

    def _features(self, signals: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return features, (1, frames, channels) each, and the lengths that ESPnet tells of them.

        They are computed one by one: in a batch the sinc filters' products are rounded
        differently, and the logarithm of values near zero turns that into 1e-4 of an embedding.
        """
        with float32_products():
            found = [self.model.extract_feats(signal[None]) for signal in signals]
        features, n_told = zip(*found, strict=True)
        return list(features), torch.cat(n_told)


def _ragged_form(model: Any, precision: str, device: torch.device) -> RaggedModel | None:
    """Return the form of a model for any lengths, or None, with a log line, if there is none."""
    if not is_covered(model):
        logger.info(
            "no fast form of %s with %s: only utterances of equal length are batched",
            type(model.encoder).__name__,
            type(model.pooling).__name__,
        )
        return None
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return RaggedModel(model, dtype, padded=device.type != "cpu")


def _locate(place: Path) -> tuple[Path, Path]:
    """Return the paths of the configuration and weights in a folder or beside a ``.pth`` file.

    ESPnet's archives and hub repositories name both paths in ``meta.yaml``.
    """
    weights, config = place, place.with_name("config.yaml")
    if place.is_dir() and (place / "meta.yaml").is_file():
        meta = _read_yaml(place / "meta.yaml")
        try:
            weights = place / meta["files"]["model_file"]
            config = place / meta["yaml_files"]["train_config"]
        except (KeyError, TypeError) as error:
            raise EncoderError(
                f"{place / 'meta.yaml'}: names no model_file and train_config, as those of "
                "speaker encoders do"
            ) from error
    elif place.is_dir():
        weights = find_only(place, "**/*.pth")
        config = weights.with_name("config.yaml")
    for path in (config, weights):
        if not path.is_file():
            raise EncoderError(f"{path} is missing, an ESPnet encoder needs it")
    return config, weights


def _load_model(config: Path, weights: Path, device: str) -> Any:
    """Return the network that a configuration describes, with its weights.

    ESPnet's own loading would run code in a checkpoint and ignore missing weights.
    """
    settings = _read_yaml(config)
    if settings.get("use_adapter"):
        raise EncoderError(f"{config}: use_adapter is not supported")
    try:
        model = Speech2Embedding(config, None, device).spk_model
    except Exception as error:  # bad settings may raise anything
        raise EncoderError(
            f"{config}: ESPnet cannot build this encoder: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    model.loss = None  # its weights belong to the training's speakers
    load_weights(model, read_checkpoint(weights), weights, unused=("loss",))
    return model


def _keep_filters(model: Any) -> None:
    """Compute sinc filters once instead of for every signal."""
    if isinstance(model.frontend, AsteroidFrontend):
        with torch.inference_mode():
            filters = model.frontend.conv.get_filters()
        model.frontend.conv.get_filters = lambda: filters


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise EncoderError(f"{path}: not YAML of plain data: {first_line(error)}") from error
    if not isinstance(content, Mapping):
        raise EncoderError(f"{path}: has no settings")
    return content
