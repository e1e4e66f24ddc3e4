"""Files written whole or not at all."""

import ctypes
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xvectors.errors import FIX_AND_RERUN, WriteError


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary name in the folder of `path`; rename that file to `path` at the end.

    A reader of `path` sees the old content or the new, never a part, even if the writer is
    killed. The temporary name starts with a dot and ends in ``.tmp``, see `remove_leftovers`.

    Args:
        path: The file.
        durable: Also survive power loss. This costs milliseconds. For many files, call
            `flush_to_disk` once at the end instead.

    Raises:
        WriteError: For instance the disk is full, or the folder belongs to another user.

    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        # If this fails too, the first error says more.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            raise unwritable(path, error) from error
        raise


def unwritable(path: Path, error: OSError) -> WriteError:
    """Return the exception that says why a file cannot be written."""
    return WriteError(f"{path}: cannot be written: {error.strerror}. {FIX_AND_RERUN}")


def write_atomically(path: Path, content: bytes, durable: bool = True) -> None:
    """Write `content` to `path`, whole or not at all, see `replacing`."""
    with replacing(path, durable) as temporary:
        temporary.write_bytes(content)


def flush_to_disk(folder: Path) -> None:
    """Wait until everything written to a folder's file system has reached its disk.

    Raises:
        WriteError: Something did not, for instance because the disk is broken.

    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:  # only Linux has it
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise WriteError(f"{folder}: files that were written there may be lost: {reason}")
    finally:
        os.close(descriptor)


def write_if_changed(path: Path, content: bytes) -> None:
    """Write `content` atomically unless `path` holds it already, which keeps its time."""
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content, durable=False)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove the temporary files that killed writers of `name`, or of any file, have left."""
    written = ".+" if name is None else re.escape(name)
    leftover = re.compile(rf"\.{written}\.[0-9a-f]{{12}}\.tmp", re.DOTALL)
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                if leftover.fullmatch(entry.name):
                    Path(entry.path).unlink(missing_ok=True)
