"""Versions of audio files, which cost no reading, and hashes of their content."""

import hashlib
import os
import stat
from functools import lru_cache
from typing import NamedTuple

from xvectors.audio.byte_ranges import check_place
from xvectors.audio.containers import Member, find_member, parse_member
from xvectors.audio.files import open_found, raise_unreadable
from xvectors.errors import UtteranceError

# Recordings of many segments are hashed once.
N_REMEMBERED = 1024
CONTENT_DIGITS = 32


class AudioVersion(NamedTuple):
    """The version of an audio file: its size in bytes, its time in ns."""

    size: int
    mtime_ns: int


def audio_version(path: str) -> AudioVersion | None:
    """Return the version of the file at `path`, None if it is missing or unreadable."""
    try:
        return check_audio(path)
    except UtteranceError:
        return None


class AudioVersions:
    """Versions of audio files at one time: each container is asked once, however many members."""

    def __init__(self) -> None:
        self._containers: dict[str, _Container] = {}
        self._lookalikes: dict[str, frozenset[str] | None] = {}

    def of(self, path: str) -> AudioVersion | None:
        """Return what `audio_version` returned for a file, or for the container of a member."""
        member = parse_member(path)
        if member is None:
            return audio_version(path)
        container = self._containers.get(member.container) or self._ask(member.container)
        lookalikes = container.lookalikes
        if lookalikes is None or (lookalikes and path.rpartition("/")[2] in lookalikes):
            return audio_version(path)
        return container.version

    def _ask(self, path: str) -> "_Container":
        folder = os.path.dirname(path)  # noqa: PTH120
        if folder not in self._lookalikes:
            self._lookalikes[folder] = _list_lookalikes(folder)
        found = _Container(audio_version(path), self._lookalikes[folder])
        self._containers[path] = found
        return found


class _Container(NamedTuple):
    """The version of a container, and the files beside it whose names look like a member's.

    `lookalikes` is None if they cannot be listed.
    """

    version: AudioVersion | None
    lookalikes: frozenset[str] | None


def _list_lookalikes(folder: str) -> frozenset[str] | None:
    """Return the names in a folder that look like a member's, None if it cannot be listed."""
    try:
        return frozenset(name for name in os.listdir(folder or ".") if parse_member(name))  # noqa: PTH208
    except OSError:
        return None


def check_audio(path: str) -> AudioVersion:
    """Return the version of the file at `path`, or of the container that it names a member of.

    Raises:
        UtteranceError: There is none, or it is a folder, a pipe or the like.
        OSError: The machine cannot tell, see `machine_problem`.

    """
    member = find_member(path)
    return _check_file(path if member is None else member.container)


def _check_file(path: str) -> AudioVersion:
    try:
        return _regular(path, os.stat(path))  # noqa: PTH116 - a fifth of the cost of Path.stat
    except OSError as error:
        raise_unreadable(path, error)


def content_hash(path: str) -> tuple[AudioVersion, str]:
    """Return the version of the file or member at `path` and a hash of all of its bytes.

    A file that has the version which it had before is not read again.

    Raises:
        UtteranceError: As `check_audio`.
        OSError: The machine cannot read it, see `machine_problem`.

    """
    if (member := find_member(path)) is not None:
        version = _check_file(member.container)
        return version, _hash_member(member, version)
    try:
        # A pipe that nobody writes to would otherwise block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            version = _regular(path, os.fstat(descriptor))
            return version, _hash(_Opened(path, version, descriptor))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise_unreadable(path, error)


class _Opened:
    """An open file, equal to another one of the same path and version."""

    def __init__(self, path: str, version: AudioVersion, descriptor: int) -> None:
        self.key = path, version
        self.descriptor = descriptor

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Opened) and self.key == other.key


@lru_cache(N_REMEMBERED)
def _hash(opened: _Opened) -> str:
    with open(opened.descriptor, "rb", buffering=0, closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:CONTENT_DIGITS]


@lru_cache(N_REMEMBERED)
def _hash_member(member: Member, version: AudioVersion) -> str:
    del version
    try:
        file = open_found(str(member), member, is_read=True)
    except UtteranceError as error:
        check_place(member, error)
        raise
    with file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:CONTENT_DIGITS]


def _regular(path: str, status: os.stat_result) -> AudioVersion:
    if not stat.S_ISREG(status.st_mode):
        raise UtteranceError(f"not a file: {path}")
    return AudioVersion(status.st_size, status.st_mtime_ns)
