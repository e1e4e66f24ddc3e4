"""Paths as users write them."""

import os
import re

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
