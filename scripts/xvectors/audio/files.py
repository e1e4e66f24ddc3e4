"""Opening audio files and members of containers, and the form in which decoders get them."""

import errno
import io
import os
import unicodedata
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from xvectors.audio.byte_ranges import BUFFER_BYTES, MAX_HELD_BYTES, open_range, read_range
from xvectors.audio.containers import Member, TableRow, find_member, find_range
from xvectors.audio.parquet_rows import open_row
from xvectors.errors import UtteranceError, machine_problem

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

AudioFile = io.FileIO | io.BufferedReader | io.BytesIO


def open_file(path: str, *, is_read: bool = False) -> AudioFile:
    """Open a file, or a member of a container, of which all will be read if `is_read`.

    Raises:
        UtteranceError: It is missing or may not be read, or the container does not hold it.
        OSError: The machine cannot read it.

    """
    return open_found(path, find_member(path), is_read=is_read)


def open_found(path: str, member: Member | None, *, is_read: bool) -> AudioFile:
    """Open a file, or the member of a container that `find_member` has found, as `open_file`."""
    if member is None:
        return _open(path)
    file = _open(member.container)
    if isinstance(member, TableRow):
        with file:
            status = os.fstat(file.fileno())
        return open_row((status.st_size, status.st_mtime_ns), member)
    try:
        most = MAX_HELD_BYTES if is_read else BUFFER_BYTES
        if member.size is not None and member.size <= most:
            return read_range(file, member, member.size)
        return open_range(file, member)
    except BaseException:
        file.close()
        raise


def _open(path: str) -> io.FileIO:
    try:
        return io.FileIO(path)
    except OSError as error:
        raise_unreadable(path, error)


def raise_unreadable(path: str, error: OSError) -> NoReturn:
    """Raise UtteranceError for a file that cannot be read, or `error` if it is the machine's."""
    if machine_problem(error):
        raise error
    if isinstance(error, FileNotFoundError):
        raise UtteranceError(f"file missing: {path}{_hint(path)}") from error
    raise UtteranceError(f"cannot be read: {path}: {error.strerror}") from error


def _hint(path: str) -> str:
    """Return a hint for a missing path: its range, or a file's name in another Unicode form."""
    if found := find_range(path):
        return f"; ranges ({found}) are not read, give start= and end= in seconds"
    if path.isascii():
        return ""
    forms = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
    other = next((form for form in forms if form != path and os.path.exists(form)), None)  # noqa: PTH110
    return f"; there is one whose name is written in another Unicode form: {other}" if other else ""


class DecoderFile:
    """A file for a decoder that hides its name and records its errors.

    FFmpeg would guess the format from a suffix. Decoders take an input error for the end, and
    their wrappers print the traceback of an exception.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def read(self, n_bytes: int) -> bytes:
        """Return the next bytes, none at the end or after an error."""
        try:
            return self._file.read(n_bytes) or b""
        except OSError as error:
            self._note(error)
            return b""

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read the next bytes, none at the end or after an error."""
        try:
            return self._file.readinto(buffer) or 0  # type: ignore[attr-defined]
        except OSError as error:
            self._note(error)
            return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Seek to a position and return it, or a negative number after an error."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError) as error:
            return -(getattr(error, "errno", None) or errno.EINVAL)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def _note(self, error: OSError) -> None:
        # A damaged header may lead beyond the largest possible file.
        if error.errno != errno.EINVAL:
            self.error = error
