"""The identity of embeddings: everything that changes the vectors."""

from typing import Any

from omegaconf import DictConfig

from xvectors.config.layout import Layout
from xvectors.config.toolkits import TOOLKITS, installed_version
from xvectors.encoders.fetching import read_fingerprint
from xvectors.files.checksummed_json import canonical_json

# Raise it whenever the vectors change by more than rounding.
NUMERICS_VERSION = 1


def collect_numerics(config: DictConfig) -> dict[str, Any]:
    """Return all that changes vectors, except the encoder and the audio themselves."""
    xvector = config.xvector
    return {
        "toolkit": xvector.toolkit,
        "toolkit_version": installed_version(TOOLKITS[xvector.toolkit].package),
        "precision": xvector.precision,
        "provider": xvector.provider,
        "runner": xvector.runner,
        "numerics": NUMERICS_VERSION,
    }


def describe_origin(config: DictConfig) -> dict[str, str]:
    """Return, as metadata of files that hold many embeddings, what made them: JSON."""
    encoder = read_fingerprint(Layout.of(config).encoder)
    provenance = collect_numerics(config) | {
        "encoder": encoder,
        "source": config.xvector.pretrained_model,
    }
    return {"provenance": canonical_json(provenance).decode()}
