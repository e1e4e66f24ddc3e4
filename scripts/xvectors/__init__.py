"""Bulk speaker-embedding extraction: providers, runners and what the workflow's rules do.

The names are imported when they are first asked for, because that takes a third of a second.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "BaseRunner": "xvectors.tasks.runner",
    "EnvironmentProvider": "xvectors.tasks.provider",
    "UtteranceError": "xvectors.errors",
    "XVectorProvider": "xvectors.tasks.xvectors",
    "XVectorRunner": "xvectors.tasks.xvectors",
    "XVectorsError": "xvectors.errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
