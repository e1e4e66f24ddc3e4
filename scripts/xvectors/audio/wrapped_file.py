"""Files that are read through another file."""

import io
from typing import BinaryIO


class WrappedFile(io.RawIOBase):
    """A file that is read and searched through another file, which it closes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close both files."""
        super().close()
        self._file.close()
