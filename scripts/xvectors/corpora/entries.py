"""The results of corpus readers, and functions that the readers share."""

import gzip
import os
import zlib
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from xvectors.audio.many_files import map_overlapped
from xvectors.audio.signal import Segment
from xvectors.errors import CorpusError

# Names that the search for changed folders reads at most, which bounds its time at a run's start.
MAX_NAMES_SEARCHED = 100_000


class LeftOut(NamedTuple):
    """A file or line of a corpus that is not an utterance. Equal reasons are counted together."""

    place: str
    reason: str


class Entry(NamedTuple):
    """An utterance of a corpus.

    `place` is ``file:line`` or a file, for error messages. `wav_path` is absolute. `seconds` is the
    duration if the corpus states it. `segment` is the utterance's part of the recording, None for
    all of it.
    """

    place: str
    utt_id: str
    wav_path: str
    text: str
    speaker_id: str
    seconds: float | None = None
    segment: Segment | None = None


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ``(<file>:<number>, line)`` for each line that is not blank, also of gzipped files.

    Raises:
        CorpusError: The file is missing, damaged or not UTF-8.

    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield f"{path}:{number}", text
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{path}: cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: text that is not UTF-8") from error


def read_texts(paths: list[Path]) -> list[str]:
    """Return the content of text files, which is empty for a missing file."""
    return list(map_overlapped(_read_text, paths))


def _read_text(path: Path) -> str:
    return "\n".join(line for _, line in read_lines(path)) if path.exists() else ""


def list_files(folder: Path) -> list[Path]:
    """Return the files at any depth in `folder`, sorted, without hidden ones.

    Links to folders are followed, but each folder is listed only once. Hidden files are left out
    because some archives hold macOS's companions of files, ``._*``.

    Raises:
        OSError: A folder cannot be read.

    """
    found: list[Path] = []
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        # List real folders before links to them.
        links: list[Path] = []
        for top in sorted(waiting):
            for parent, folders, names in os.walk(top, onerror=_raise):
                real = os.path.realpath(parent)
                if real in seen:
                    folders.clear()
                    continue
                seen.add(real)
                links += (path for name in folders if (path := Path(parent, name)).is_symlink())
                found += (Path(parent, name) for name in names if not name.startswith("."))
        waiting = links
    return sorted(found)


def list_matches(folder: Path, pattern: str) -> list[Path]:
    """Return those of `list_files` that match a glob pattern such as ``*/*.wav``."""
    depth = len(folder.parts) + len(Path(pattern).parts)
    return [path for path in list_files(folder) if len(path.parts) == depth and path.match(pattern)]


def find_changed_folder(
    folder: Path, since_ns: int, written: Collection[Path], containers: tuple[str, ...] = ()
) -> Path | None:
    """Return a folder that has changed since a time: `folder` itself or one below it.

    A folder changes when a file in it is added, renamed or removed. A container is returned, too,
    when it has changed. Folders near the top are searched first, and the search ends after
    `MAX_NAMES_SEARCHED` names. Hidden folders are left out.

    Args:
        folder: The folder to search.
        since_ns: A modification time in nanoseconds.
        written: Absolute paths that runs write. Folders at and above them are not reported, and
            nothing below them is searched.
        containers: The suffixes of files whose own changes count.

    Raises:
        OSError: A folder cannot be read.

    """
    waiting = deque([folder.absolute()])
    seen: set[tuple[int, int]] = set()
    n_names = 0
    while waiting and n_names < MAX_NAMES_SEARCHED:
        top = waiting.popleft()
        status = top.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in seen or top in written:
            continue
        seen.add(identity)
        if status.st_mtime_ns > since_ns and not any(one.is_relative_to(top) for one in written):
            return top
        with os.scandir(top) as entries:
            for entry in entries:
                n_names += 1
                if entry.is_dir() and not entry.name.startswith("."):
                    waiting.append(top / entry.name)
                elif entry.name.endswith(containers) and entry.stat().st_mtime_ns > since_ns:
                    return top / entry.name
    return None


def _raise(error: OSError) -> None:
    raise error
