"""A workaround for SpeechBrain, checked with the version below.

A test fails when another version is pinned. Then try whether it is still needed.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

CHECKED_VERSION = "1.1.2"

SCIPY_STATS = "scipy.stats"
# The distribution that SpeechBrain imports from it.
NAME = "lognorm"


@contextmanager
def without_scipy_stats() -> Iterator[None]:
    """Keep the first import of SpeechBrain, within this context, from importing scipy.stats.

    A sampler for training imports one distribution from it, which nothing here calls. That takes
    most of the time of importing SpeechBrain after PyTorch. The stand-in loads scipy.stats when the
    distribution, or any other name that is imported from there meanwhile, is used.
    """
    if SCIPY_STATS in sys.modules:
        yield
        return
    sys.modules[SCIPY_STATS] = _StandIn(SCIPY_STATS)
    try:
        yield
    finally:
        _remove_stand_in()


class _StandIn(ModuleType):
    """A stand-in for scipy.stats that has one distribution."""

    def __getattr__(self, name: str) -> Any:
        # `inspect` asks all modules for their files, and an import asks for the path.
        if name.startswith("__"):
            raise AttributeError(name)
        return _Distribution() if name == NAME else getattr(_import_scipy_stats(), name)


class _Distribution:
    """The distribution, imported when it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(_import_scipy_stats(), NAME), name)


def _import_scipy_stats() -> ModuleType:
    _remove_stand_in()
    return importlib.import_module(SCIPY_STATS)


def _remove_stand_in() -> None:
    if isinstance(sys.modules.get(SCIPY_STATS), _StandIn):
        del sys.modules[SCIPY_STATS]
