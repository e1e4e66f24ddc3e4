"""Paths as users write them."""

import os
import re
import sys

from xvectors.errors import ConfigError

_LEADING_VARIABLE = re.compile(r"\$(\w+)(?=/|\Z)")


def expand_path(path: str) -> str:
    """Return `path` with a leading ``~`` or environment variable replaced, as a shell does.

    Only the beginning counts: names of files may hold a ``$``. A user or variable that does not
    exist is left as it is, and so is a name after ``./``.
    """
    variable = _LEADING_VARIABLE.match(path)
    if variable:
        return os.environ.get(variable[1], variable[0]) + path[variable.end() :]
    return os.path.expanduser(path)  # noqa: PTH111 - Path would fail for an unknown user


def require_utf8() -> None:
    """Refuse a locale in which names of files are not UTF-8.

    Raises:
        ConfigError: One line that says which locale to use.

    """
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        raise ConfigError(
            f"this locale's encoding is {encoding}, and names of files would be read wrongly: "
            "type export LC_ALL=C.UTF-8 and rerun the same command"
        )
