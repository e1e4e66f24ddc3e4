"""The identity of embeddings: everything that the vectors depend on."""

from typing import Any

from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.config.toolkits import TOOLKITS, installed_version
from xvectors.encoders.fetching import read_fingerprint
from xvectors.files.json_text import canonical_json

# Increase this, and all of `TOOLKIT_VERSIONS`, when all vectors change by more than rounding.
NUMERICS_VERSION = 1
# Toolkits whose vectors changed alone. onnx 2: takes the first of several channels.
TOOLKIT_VERSIONS = {"onnx": 2}


def collect_numerics(settings: Settings) -> dict[str, Any]:
    """Return everything that the vectors depend on, except for the encoder and the audio."""
    xvector = settings.xvector
    frontend = xvector.frontend
    # Embeddings that were made before there was a detector have no such entry.
    vad = {} if xvector.vad is None else {"vad": f"silero {installed_version('silero-vad')}"}
    return {
        **vad,
        "toolkit": xvector.toolkit,
        "toolkit_version": installed_version(TOOLKITS[xvector.toolkit].package),
        "precision": xvector.precision,
        "provider": xvector.provider,
        "runner": xvector.runner,
        "numerics": TOOLKIT_VERSIONS.get(xvector.toolkit, NUMERICS_VERSION),
        # Without one, the encoder's files tell, which the fingerprint is of.
        **({"frontend": frontend.model_dump(mode="json")} if frontend else {}),
    }


def provenance_metadata(settings: Settings) -> dict[str, str]:
    """Return the provenance of embeddings as metadata of files that hold many."""
    encoder = read_fingerprint(Layout.of(settings).encoder_description)
    provenance = collect_numerics(settings) | {
        "encoder": encoder,
        "source": settings.xvector.pretrained_model,
    }
    return {"provenance": canonical_json(provenance).decode()}
