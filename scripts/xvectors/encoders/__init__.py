"""Encoders: the interface, a folder per toolkit, their shared parts, and the detector of speech.

Importing this package imports nothing else, because some of its modules are used without PyTorch.
"""
