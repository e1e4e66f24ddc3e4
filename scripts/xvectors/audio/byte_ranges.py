"""Recordings that are a range of bytes in a file: members of tars and of Kaldi's archives."""
# ruff: noqa: PLR2004 - numbers of the formats, which have no names

import errno
import io
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from xvectors.audio.containers import ByteRange, Member
from xvectors.audio.lengths import stated_bytes
from xvectors.audio.wrapped_file import WrappedFile
from xvectors.errors import UtteranceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Decoders read a few kilobytes at a time.
BUFFER_BYTES = 2**16
# Longer members are not read at once. If only the header is wanted, `BUFFER_BYTES` is the limit.
MAX_HELD_BYTES = 2**22
KALDIIO_MARK = b"AUDIO"
FLAC_HEAD_BYTES = 42
TAR_MARK = b"ustar"
# The share, and the bytes, that FLAC may be larger than its samples: its frames' headers and tags.
FLAC_EXCESS, FLAC_TAG_BYTES = 1.25, 2**20


class RangeFile(WrappedFile):
    """A range of bytes of a file, as if it were a file. It closes the file that it is part of.

    `is_open_ended` tells that other bytes may follow the recording, whose end is not known.
    """

    is_open_ended = False

    def __init__(self, file: io.FileIO, start: int, size: int) -> None:
        """Take a file, and the range's first byte and size. The file may end earlier."""
        super().__init__(file)
        self._start, self._size, self._place = start, size, 0

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read the next bytes, fewer or none at the end."""
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._place)
        if wanted <= 0:
            return 0
        n_read = os.preadv(self._file.fileno(), [view[:wanted]], self._start + self._place)
        self._place += n_read
        return n_read

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the range, and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        """Return the place in the range."""
        return self._place

    def narrow(self, start: int, size: int) -> None:
        """Keep only a range of the bytes, and go to its beginning."""
        self._start, self._size, self._place = self._start + start, size, 0


def open_range(file: io.FileIO, member: ByteRange) -> io.BufferedReader:
    """Return a range of bytes of an open file, which it closes.

    Raises:
        UtteranceError: The file ends before the range does, or the range's size is unknown.

    """
    available = os.fstat(file.fileno()).st_size
    if member.size is None:
        recording = RangeFile(file, member.offset, max(0, available - member.offset))
        start, size = _find_recording(recording, member)
        recording.narrow(start, size)
    else:
        recording, start, size = RangeFile(file, member.offset, member.size), 0, member.size
    _check_end(member, available, member.offset + start + size)
    return io.BufferedReader(recording, BUFFER_BYTES)


class _LastRead(threading.local):
    """The last read of a thread, which hashes a member and then decodes it."""

    key: object = None
    content: bytes = b""


_last_read = _LastRead()


def read_range(file: io.FileIO, member: ByteRange, size: int) -> io.BytesIO:
    """Return a range of bytes of an open file, of a size, that is read at once; close the file.

    Raises:
        UtteranceError: The file ends before the range does.

    """
    with file:
        status = os.fstat(file.fileno())
        key = member, status.st_ino, status.st_size, status.st_mtime_ns
        if _last_read.key != key:
            _check_end(member, status.st_size, member.offset + size)
            content = _read_all(file.fileno(), member.offset, size)
            _check_end(member, member.offset + len(content), member.offset + size)
            _last_read.key, _last_read.content = key, content
    return io.BytesIO(_last_read.content)


def _read_all(descriptor: int, start: int, size: int) -> bytes:
    """Return bytes of a file, fewer if it ends."""
    content = os.pread(descriptor, size, start)
    # Signals end a read early, and so does a file that grows.
    while len(content) < size:
        more = os.pread(descriptor, size - len(content), start + len(content))
        if not more:
            break
        content += more
    return content


def _check_end(member: ByteRange, available: int, end: int) -> None:
    if end > available:
        missing = end - available
        raise UtteranceError(f"cut off: {member}: the file ends {missing} bytes before it does")


def is_open_ended(file: BinaryIO) -> bool:
    """Tell whether other bytes may follow the recording in a file."""
    raw = getattr(file, "raw", None)
    return isinstance(raw, RangeFile) and raw.is_open_ended


def check_place(member: Member | None, error: UtteranceError) -> None:
    """Raise UtteranceError if nothing begins at the place of a member that could not be read.

    Its container was then written again. `error` is why it could not be read.
    """
    if isinstance(member, ByteRange) and _is_out_of_place(member):
        raise UtteranceError(
            f"{error}; nothing begins at that place of {member.container}. If it was written again "
            "since the manifest was made, make that again"
        ) from error


def _is_out_of_place(member: ByteRange) -> bool:
    """Tell whether no member of a tar, or of an archive of Kaldi's, begins where a range does."""
    start = max(0, member.offset - tarfile.BLOCKSIZE)
    try:
        with Path(member.container).open("rb", buffering=0) as file:
            first = file.read(tarfile.BLOCKSIZE)
            before = os.pread(file.fileno(), member.offset - start, start)
    except OSError:
        return False
    if member.size is None:
        return member.offset > 0 and before[-1:] != b" "
    if first[257:262] != TAR_MARK:
        return False
    try:
        return tarfile.TarInfo.frombuf(before, "utf-8", "surrogateescape").size != member.size
    except tarfile.TarError:
        return True


def _find_recording(rest: RangeFile, member: ByteRange) -> tuple[int, int]:
    """Return the first byte and the size of the recording that an archive's rest begins with."""
    head = rest.read(FLAC_HEAD_BYTES) or b""
    if not head:
        raise UtteranceError(f"cut off: {member}: the file ends before it begins")
    find = next((find for mark, find in KINDS.items() if head.startswith(mark)), None)
    if find is None:
        raise UtteranceError(
            f"not audio: {member}: there is no WAV, FLAC, NIST SPHERE or AUDIO; write other kinds "
            "as <file>:<offset>+<size>"
        )
    found = find(rest, head)
    if found is None:
        raise UtteranceError(
            f"not read: {member}: its header states no size; write it as <file>:<offset>+<size>"
        )
    return found


def _find_stated(rest: RangeFile, _head: bytes) -> tuple[int, int] | None:
    """Return the range of a recording whose header states its bytes."""
    size = rest.seek(0, os.SEEK_END)
    found = stated_bytes(cast("BinaryIO", rest))
    if found is None or found.stated is None:
        return None
    return 0, size - found.available + found.stated


def _find_flac(rest: RangeFile, head: bytes) -> tuple[int, int] | None:
    """Return a range that begins with FLAC, which states its samples, but not its bytes."""
    rest.is_open_ended = True
    fields = int.from_bytes(head[18:26], "big")
    n_samples, bits, channels = fields % 2**36, (fields >> 36) % 32 + 1, (fields >> 41) % 8 + 1
    if len(head) < FLAC_HEAD_BYTES or not n_samples:
        return None
    most = int(n_samples * channels * -(-bits // 8) * FLAC_EXCESS) + FLAC_TAG_BYTES
    return 0, min(most, rest.seek(0, os.SEEK_END))


def _find_kaldiio(_rest: RangeFile, head: bytes) -> tuple[int, int] | None:
    """Return the range of a file that kaldiio has written: a mark, its size, and the file."""
    start = len(KALDIIO_MARK) + 1 + head[len(KALDIIO_MARK)] if len(head) > 5 else FLAC_HEAD_BYTES
    if start > 14:
        return None
    return start, int.from_bytes(head[len(KALDIIO_MARK) + 1 : start], "little")


KINDS: dict[bytes, Callable[[RangeFile, bytes], tuple[int, int] | None]] = {
    b"RIFF": _find_stated,
    b"RIFX": _find_stated,
    b"RF64": _find_stated,
    b"BW64": _find_stated,
    b"NIST_1A": _find_stated,
    b"fLaC": _find_flac,
    KALDIIO_MARK: _find_kaldiio,
}
