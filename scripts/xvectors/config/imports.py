"""Classes that the configuration names."""

import importlib
from typing import Any

from xvectors.errors import ConfigError, first_line


def import_class(name: str, key: str) -> Any:
    """Import the class that ``package.module.Class`` names.

    Raises:
        ConfigError: It cannot be imported; the message names the configuration's `key`.

    """
    module_name, _, class_name = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise ConfigError(
            f"{key}: cannot import {name!r} ({type(error).__name__}: {first_line(error)}); "
            "is its folder on PYTHONPATH?"
        ) from error
