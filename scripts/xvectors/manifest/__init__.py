"""Manifests: the utterances of a split, one line each."""
