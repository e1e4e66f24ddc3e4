"""Resemblyzer's encoder, trained with the generalized end-to-end loss (GE2E)."""
