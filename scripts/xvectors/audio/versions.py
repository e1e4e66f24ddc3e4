"""Versions of audio files: what tells one from another without reading it."""

import os
import stat
from typing import NamedTuple

from xvectors.errors import UtteranceError


class AudioVersion(NamedTuple):
    """What tells one version of an audio file from another: size in bytes, time in ns."""

    size: int
    mtime_ns: int


def audio_version(path: str) -> AudioVersion | None:
    """Return the version of the file at `path`, None when there is none that can be asked."""
    try:
        return check_audio(path)
    except UtteranceError:
        return None


def check_audio(path: str) -> AudioVersion:
    """Return the version of the file at `path`.

    Raises:
        UtteranceError: There is none, or it is a folder, a pipe or the like.

    """
    try:
        status = os.stat(path)  # noqa: PTH116 - a fifth of the cost of Path.stat
    except FileNotFoundError as error:
        raise UtteranceError(f"file missing: {path}") from error
    except OSError as error:
        raise UtteranceError(f"cannot be read: {path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise UtteranceError(f"not a file: {path}")
    return AudioVersion(status.st_size, status.st_mtime_ns)
