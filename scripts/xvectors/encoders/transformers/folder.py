"""The files of an encoder of transformers, in the layout of the hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xvectors.config.settings import Frontend
from xvectors.errors import EncoderError, first_line
from xvectors.files.json_text import parse_json

ARCHITECTURES = ("WavLMForXVector", "UniSpeechSatForXVector", "Wav2Vec2ForXVector")
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
# Files of weights, the preferred one first.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
EXTRACTOR = "Wav2Vec2FeatureExtractor"
DEFAULT_RATE = 16000


@dataclass(frozen=True)
class EncoderFolder:
    """The settings in an encoder's files.

    Attributes:
        architecture: Name of its class in transformers.
        config: The content of ``config.json``.
        weights: Path of its weights.
        sample_rate: Rate in Hz of its signals.
        is_normalized: Whether signals are brought to mean 0 and variance 1.

    """

    architecture: str
    config: Mapping[str, Any]
    weights: Path
    sample_rate: int
    is_normalized: bool


def read_folder(source: Path) -> EncoderFolder:
    """Read the settings of the encoder in a folder.

    Raises:
        EncoderError: A file is missing, damaged, or of another kind of model.

    """
    config = _read_json(source / CONFIG)
    (*_, architecture) = config.get("architectures") or [""]
    if architecture not in ARCHITECTURES:
        raise EncoderError(
            f"{source / CONFIG}: the architecture is {architecture or 'not named'}; speaker "
            f"encoders here are {', '.join(ARCHITECTURES)}"
        )
    preprocessor = _read_json(source / PREPROCESSOR)
    extractor = preprocessor.get("feature_extractor_type", EXTRACTOR)
    if extractor != EXTRACTOR:
        raise EncoderError(f"{source / PREPROCESSOR}: {extractor} is not supported: {EXTRACTOR} is")
    weights = [source / name for name in WEIGHTS if (source / name).is_file()]
    if not weights:
        raise EncoderError(f"{source}: has no weights: neither {' nor '.join(WEIGHTS)}")
    sample_rate = preprocessor.get("sampling_rate", DEFAULT_RATE)
    is_normalized = preprocessor.get("do_normalize", True)
    if type(sample_rate) is not int or sample_rate < 1 or type(is_normalized) is not bool:
        raise EncoderError(
            f"{source / PREPROCESSOR}: sampling_rate must be an integer and do_normalize true or "
            f"false, not {sample_rate!r} and {is_normalized!r}"
        )
    return EncoderFolder(architecture, config, weights[0], sample_rate, is_normalized)


def check_folder(source: Path, _frontend: Frontend | None) -> None:
    """Check that a folder holds an encoder, without reading its weights.

    Raises:
        EncoderError: A file is missing, damaged, or of another kind of model.

    """
    read_folder(source)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EncoderError(f"{path} is missing, an encoder of transformers needs it") from None
    except ValueError as error:
        raise EncoderError(f"{path}: not JSON: {first_line(error)}") from error
    if not isinstance(content, Mapping):
        raise EncoderError(f"{path}: has no settings")
    return content
