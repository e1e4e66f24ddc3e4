"""Workarounds for SpeechBrain, checked with the version below.

A test fails when another version is pinned. Then try whether each is still needed.
"""

from pathlib import Path

CHECKED_VERSION = "1.1.2"


def local_overrides(source: Path) -> dict[str, str]:
    """Return overrides that make a downloaded encoder load from its own folder.

    The hyperparams.yaml of the hub's encoders names their hub id as ``pretrained_path``, and
    SpeechBrain would ask the hub at every load.
    """
    lines = (source / "hyperparams.yaml").read_text(encoding="utf-8").splitlines()
    has_path = any(line.startswith("pretrained_path:") for line in lines)
    return {"pretrained_path": str(source)} if has_path else {}


def numbered_device(device: str) -> str:
    """Return the device with its number, because SpeechBrain warns about plain ``cuda``."""
    return "cuda:0" if device == "cuda" else device
