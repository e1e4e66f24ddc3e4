"""ESPnet's encoders: all models that ESPnet-SPK trains."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from xvectors.encoders.batch_budget import BatchBudget
from xvectors.encoders.checkpoints import load_weights, read_checkpoint
from xvectors.encoders.device import float32_products
from xvectors.encoders.encoder import Encoder, embed_by_length_within
from xvectors.encoders.espnet.workarounds import Speech2Embedding
from xvectors.encoders.shortest import find_shortest
from xvectors.encoders.source import unpacked
from xvectors.errors import EncoderError, first_line

SAMPLE_RATE = 16000
# Samples of a batch. More are not faster on a CPU.
CPU_SAMPLES = 30 * SAMPLE_RATE
GPU_SAMPLES = 300 * SAMPLE_RATE


class EspnetEncoder(Encoder):
    """An encoder of ESPnet-SPK.

    Every signal gets the embedding that ``Speech2Embedding`` gives for it alone. ESPnet tells the
    lengths of signals to the pooling only, so the other layers would use a signal's padding.
    Therefore only signals of equal length are batched.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, source: Path, device: str, precision: str) -> None:
        """Load the encoder at `source`: a folder, an archive, or a ``.pth`` file."""
        super().__init__(device, precision)
        with unpacked(source) as place:
            self.model = _load_model(*_locate(place), device)
        n_samples = CPU_SAMPLES if self.device.type == "cpu" else GPU_SAMPLES
        self.budget = BatchBudget(n_samples, self.device)
        self.min_samples = find_shortest(self.embed, SAMPLE_RATE, source)

    def embed_on_device(self, signals: list[torch.Tensor]) -> torch.Tensor:
        """Embed signals of any lengths, each as if it were alone."""
        return embed_by_length_within(self.budget, self._embed_batch, signals)

    def _embed_batch(self, signals: torch.Tensor) -> torch.Tensor:
        """Return the embeddings, (utterances, dim), of (utterances, samples).

        Features are computed one by one: in a batch the sinc filters' products are rounded
        differently, and the logarithm of values near zero turns that into 1e-4 of an embedding.
        """
        with float32_products():
            found = [self.model.extract_feats(signal[None]) for signal in signals]
        features, n_frames = (torch.cat(parts) for parts in zip(*found, strict=True))
        with self.autocast():
            frames = self.model.encode_frame(features)
        with float32_products():
            pooled = self.model.pooling(frames.float(), feat_lengths=n_frames)
            embeddings: torch.Tensor = self.model.project_spk_embd(pooled)
        return embeddings


def _locate(place: Path) -> tuple[Path, Path]:
    """Return the paths of an encoder's configuration and weights.

    Args:
        place: A folder or a ``.pth`` file. ESPnet's archives and hub repositories name both paths
            in ``meta.yaml``.

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
        found = sorted(place.rglob("*.pth"))
        if len(found) != 1:
            raise EncoderError(
                f"{place}: {len(found)} .pth files where one is needed; give the path of the one "
                "you want as xvector.pretrained_model"
            )
        weights, config = found[0], found[0].with_name("config.yaml")
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
    found = read_checkpoint(weights)
    found = {name: value for name, value in found.items() if not str(name).startswith("loss.")}
    load_weights(model, found, weights)
    return model


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise EncoderError(f"{path}: not YAML of plain data: {first_line(error)}") from error
    if not isinstance(content, Mapping):
        raise EncoderError(f"{path}: has no settings")
    return content
