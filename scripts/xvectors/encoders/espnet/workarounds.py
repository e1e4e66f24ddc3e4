"""Workarounds for ESPnet, checked with the version below: import `Speech2Embedding` from here.

A test fails when another version is pinned. Then try whether each is still needed.
"""

import warnings

import nltk

__all__ = ["CHECKED_VERSION", "Speech2Embedding"]

CHECKED_VERSION = "202511"

# ESPnet's front ends use a deprecated name of PyTorch's.
warnings.filterwarnings("ignore", r".*torch\.cuda\.amp\.autocast", FutureWarning)

# Its text front end, which speaker encoders do not need, downloads data when it is imported.
_download, nltk.download = nltk.download, lambda *_, **__: False
try:
    from espnet2.bin.spk_inference import Speech2Embedding
finally:
    nltk.download = _download
