"""Bulk speaker-embedding extraction: providers, runners and what the workflow's rules do."""

from xvectors.errors import UtteranceError, XVectorsError
from xvectors.provider import EnvironmentProvider, XVectorProvider
from xvectors.runner import BaseRunner, XVectorRunner

__all__ = [
    "BaseRunner",
    "EnvironmentProvider",
    "UtteranceError",
    "XVectorProvider",
    "XVectorRunner",
    "XVectorsError",
]
