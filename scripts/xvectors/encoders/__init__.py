"""Encoders: the interface, a module or folder per toolkit, and their shared parts.

Importing this package imports nothing else, because some of its modules are used without PyTorch.
"""
