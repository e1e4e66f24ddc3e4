"""Manifests: the utterances of a split, one line each."""

from xvectors.manifest.reading import locate_audio, read_manifest

__all__ = ["locate_audio", "read_manifest"]
