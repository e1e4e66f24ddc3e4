"""Parts that all readers of corpora share: the form of their results, and reading files."""

import gzip
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from xvectors.audio.opening import HEADER_READERS
from xvectors.audio.signal import Segment
from xvectors.errors import CorpusError


class LeftOut(NamedTuple):
    """A file or a line of a corpus that gives no utterance; equal reasons are counted together."""

    place: str
    reason: str


class Entry(NamedTuple):
    """An utterance as its corpus has it.

    `place` is where the corpus has it, ``file:line`` or a file, for error messages; `wav_path`
    is absolute; `seconds` is the utterance's duration if the corpus states it; `segment` is the
    part of the recording that the utterance consists of, None for all of it.
    """

    place: str
    utt_id: str
    wav_path: str
    text: str
    speaker_id: str
    seconds: float | None = None
    segment: Segment | None = None


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ``(<file>:<number>, line)`` for each line that is not blank, of gzipped files too.

    Raises:
        CorpusError: The file is missing, damaged or no UTF-8.

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
    """Return the content of text files, an empty one for a file that is not there."""
    with ThreadPoolExecutor(HEADER_READERS) as readers:
        return list(readers.map(_read_text, paths, chunksize=64))


def _read_text(path: Path) -> str:
    return "\n".join(line for _, line in read_lines(path)) if path.exists() else ""


def list_files(folder: Path) -> list[Path]:
    """Return the files at any depth in `folder`, sorted, without hidden ones.

    Links to folders are followed, but each folder is listed once: a link to a parent, or to a
    folder that is listed already, gives nothing more. Some archives hold macOS' hidden companions
    of files, ``._*``.

    Raises:
        OSError: A folder cannot be read.

    """
    found: list[Path] = []
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        # Real folders come first, whatever order the links to them are found in.
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


def _raise(error: OSError) -> None:
    raise error
