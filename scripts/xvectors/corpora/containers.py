"""Shared parts of the readers of corpora in containers: finding the containers, listing tars."""

import logging
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from xvectors.audio.containers import ByteRange
from xvectors.audio.many_files import map_overlapped
from xvectors.corpora.entries import Entry, LeftOut, list_files
from xvectors.corpora.folders import path_expression
from xvectors.errors import CorpusError, first_line
from xvectors.files.json_text import parse_json

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30
# Metadata of a sample are short; a longer file is something else.
MAX_METADATA_BYTES = 2**24
# Fields of a tar's header.
NAME, SIZE, CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)
KIND, PREFIX = slice(156, 157), slice(345, 346)


class TarMember(NamedTuple):
    """A regular file in a tar."""

    name: str
    place: ByteRange


def find_containers(path: Path, pattern: str) -> list[Path]:
    """Return the files of a folder that match a pattern, or the one file that `path` is.

    Raises:
        CorpusError: None matches.

    """
    if not path.is_dir():
        return [path]
    expression, files = path_expression(pattern), list_files(path)
    found = [file for file in files if expression.fullmatch(file.relative_to(path).as_posix())]
    if not found:
        raise CorpusError(f"{path}: none of its {len(files)} files matches the pattern {pattern}")
    return found


def read_containers(
    containers: Sequence[Path], read: Callable[[Path], list[Entry | LeftOut]]
) -> Iterator[Entry | LeftOut]:
    """Yield what `read` finds in each container, in their order, and show the progress."""
    last_line = time.monotonic()
    is_hidden = not sys.stderr.isatty()
    with tqdm(total=len(containers), unit="file", leave=False, disable=is_hidden) as bar:
        for number, found in enumerate(map_overlapped(read, containers), start=1):
            bar.update()
            if time.monotonic() - last_line >= SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                logger.info("%d of %d files are listed", number, len(containers))
            yield from found


class _MemberHeader(tarfile.TarInfo):
    """A header of a tar. Of a plain one, only the name and the size are read.

    Reading the other fields takes two thirds of the time of listing.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_MemberHeader":
        """Return the header in a block."""
        is_plain = buf[KIND] == tarfile.REGTYPE and buf[PREFIX] == b"\0"
        try:
            checksum = sum(buf) - sum(buf[CHECKSUM]) + len(b" " * 8) * ord(" ")
            if is_plain and int(buf[CHECKSUM].rstrip(b" \0"), 8) == checksum:
                name = buf[NAME].partition(b"\0")[0].decode(encoding, errors)
                found = cls(name)
                found.size = int(buf[SIZE].rstrip(b" \0"), 8)
                return found
        except ValueError:
            pass
        return super().frombuf(buf, encoding, errors)


class Tar:
    """An uncompressed tar. Only headers and metadata are read."""

    def __init__(self, path: Path) -> None:
        """Open a tar.

        Raises:
            CorpusError: It is not a tar.
            OSError: It cannot be read.

        """
        self.path = path
        self._file = path.open("rb")
        try:
            self._tar = tarfile.open(fileobj=self._file, mode="r:", tarinfo=_MemberHeader)  # noqa: SIM115
        except tarfile.TarError as error:
            self._file.close()
            raise CorpusError(
                f"{path}: not a tar, or compressed ({first_line(error)}); unpack a compressed one "
                "with gunzip or the like first"
            ) from error
        self.problem: str | None = None

    def __enter__(self) -> "Tar":
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()
        self._file.close()

    def members(self) -> Iterator[TarMember]:
        """Yield the regular files, in order. `problem` tells why later ones may be missing."""
        while True:
            try:
                info = self._tar.next()
            except (tarfile.TarError, ValueError) as error:
                # The last header is whole. That its content is missing shows when it is read.
                self.problem = f"a tar that ends early ({first_line(error)})"
                return
            if info is None:
                break
            if info.isreg() and not info.issparse():
                place = ByteRange(str(self.path), info.offset_data, info.size)
                yield TarMember(info.name, place)
        self._file.seek(self._tar.offset)
        # A block of zeros marks the end.
        block = self._file.read(tarfile.BLOCKSIZE)
        if not block:
            self.problem = "a tar that ends early (without a mark of its end)"
        elif block.strip(b"\0"):
            self.problem = f"a tar with a damaged header at byte {self._tar.offset}"

    def read(self, member: TarMember) -> bytes:
        """Return the content of a member that holds metadata."""
        if member.place.size is None or member.place.size > MAX_METADATA_BYTES:
            raise CorpusError(f"{self.path}: {member.name} is too large for metadata")
        self._file.seek(member.place.offset)
        return self._file.read(member.place.size)

    def read_text(self, member: TarMember) -> str:
        """Return the text in a member.

        Raises:
            CorpusError: It is not UTF-8.

        """
        try:
            return self.read(member).decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise CorpusError(f"{self.path}: {member.name} is text that is not UTF-8") from error

    def read_json(self, member: TarMember) -> dict[str, Any]:
        """Return the fields in a member.

        Raises:
            CorpusError: It is not a JSON object.

        """
        try:
            found = parse_json(self.read(member))
        except ValueError as error:
            reason = first_line(error)
            raise CorpusError(f"{self.path}: {member.name} is not JSON ({reason})") from error
        if not isinstance(found, dict):
            raise CorpusError(f"{self.path}: {member.name} is not a JSON object")
        return found
