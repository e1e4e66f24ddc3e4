"""Encoders: what every toolkit's gives, `encoder`, a module per toolkit, and what they share.

Importing this imports nothing: `toolkits` is read where PyTorch is not wanted.
"""
