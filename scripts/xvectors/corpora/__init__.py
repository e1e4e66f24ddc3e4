"""Corpora: readers of the kinds that people have, and the manifests made from them."""
