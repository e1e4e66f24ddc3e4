"""Bulk speaker-embedding extraction: providers, runners and what the workflow's rules do."""

from xvectors.errors import UtteranceError, XVectorsError
from xvectors.tasks.provider import EnvironmentProvider
from xvectors.tasks.runner import BaseRunner
from xvectors.tasks.xvectors import XVectorProvider, XVectorRunner

__version__ = "0.1.0"

__all__ = [
    "BaseRunner",
    "EnvironmentProvider",
    "UtteranceError",
    "XVectorProvider",
    "XVectorRunner",
    "XVectorsError",
    "__version__",
]
