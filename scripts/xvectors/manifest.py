"""Manifests: the utterances of a split, in order, checked line by line."""

import hashlib
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from xvectors.audio.segment import Segment
from xvectors.errors import ManifestError

MIN_COLUMNS = 4
MAX_UTT_ID_BYTES = 200
# What further columns may state, as `<name>=<seconds>`.
TIMES = ("start", "end", "seconds")
# Unicode's control characters, category Cc.
CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f]")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLOCK_BYTES = 2**24
# Lines that were asked for last stay in memory, as one and the same is asked for several times.
N_REMEMBERED = 256


class Utterance(NamedTuple):
    """One line of a manifest.

    `wav_path` is as the manifest has it. `segment` is the part of that recording which the
    utterance is, None for all of it. `seconds` is the segment's duration, or what the line states
    as ``seconds=``, else None.
    """

    utt_id: str
    wav_path: str
    speaker_id: str
    seconds: float | None
    segment: Segment | None = None


class Utterances(Sequence[Utterance]):
    """The utterances of a manifest, in order, each read from the file when it is asked for.

    What is kept in memory is where the lines begin: 8 bytes per utterance, however long its line.
    """

    def __init__(
        self,
        path: Path,
        starts: "NDArray[np.int64] | array[int] | None" = None,
        version: tuple[int, int] | None = None,
    ) -> None:
        """Look up where the lines of a manifest begin; nothing else is read or checked.

        Args:
            path: The manifest.
            starts: The bytes at which its utterances' lines begin, if that is known.
            version: The size and time that the manifest had before it was read for that.

        Raises:
            ManifestError: It cannot be read.

        """
        self.path = path
        self._version = version or _version(path)
        found = _line_starts(path) if starts is None else starts
        self._starts = np.asarray(found, dtype=np.int64)
        self._remembered = lru_cache(N_REMEMBERED)(self._read)

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> list[Utterance]: ...
    def __getitem__(self, index: int | slice) -> Utterance | list[Utterance]:
        """Return an utterance, or a list of them."""
        if isinstance(index, slice):
            return list(self.at(range(*index.indices(len(self)))))
        return self._remembered(range(len(self))[index])

    def __iter__(self) -> Iterator[Utterance]:
        """Yield the utterances in order."""
        return self.at(range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Tell whether `other` holds the same utterances, as a list does."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def at(self, positions: Iterable[int]) -> Iterator[Utterance]:
        """Yield the utterances at `positions`.

        Raises:
            ManifestError: The manifest has changed since it was looked at.

        """
        self._check_version()
        with self.path.open("rb") as file:
            for position in positions:
                start = int(self._starts[position])
                if file.tell() != start:
                    file.seek(start)
                yield self._parse(position, file.readline())
        self._check_version()

    def _read(self, position: int) -> Utterance:
        # A manifest that was only touched disturbs no job; a changed line has another utt_id, or
        # gives an embedding with another provenance.
        with self.path.open("rb") as file:
            file.seek(int(self._starts[position]))
            return self._parse(position, file.readline())

    def _parse(self, position: int, line: bytes) -> Utterance:
        try:
            return _parse(_content(line, is_first=self._starts[position] == 0))
        except ManifestError as problem:
            self._check_version()
            raise ManifestError(f"{self.path}: utterance {position}: {problem}") from problem

    def _check_version(self) -> None:
        if _version(self.path) != self._version:
            raise ManifestError(
                f"{self.path}: changed while it was read; run the same command again"
            )


class Column(Sequence[Any]):
    """Something of each utterance, which is made of its line when it is asked for."""

    def __init__(self, utterances: Utterances, value: Callable[[Utterance], Any]) -> None:
        """Take the utterances, and what makes something of one."""
        self._utterances = utterances
        self._value = value

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self._utterances)

    def __getitem__(self, index: Any) -> Any:
        """Return what is made of an utterance, or a list for a slice of them."""
        if isinstance(index, slice):
            return list(map(self._value, self._utterances[index]))
        return self._value(self._utterances[index])

    def __iter__(self) -> Iterator[Any]:
        """Yield what is made of each utterance."""
        return map(self._value, self._utterances)


class UtterancesOfSpeakers(Mapping[str, list[str]]):
    """The utt_ids of each speaker, in order, gathered when they are first asked for."""

    def __init__(self, utterances: Utterances) -> None:
        """Take all utterances."""
        self._utterances = utterances

    @cached_property
    def _utt_ids(self) -> dict[str, list[str]]:
        utt_ids: dict[str, list[str]] = {}
        for utterance in self._utterances:
            utt_ids.setdefault(utterance.speaker_id, []).append(utterance.utt_id)
        return utt_ids

    def __getitem__(self, speaker_id: str) -> list[str]:
        """Return the utt_ids of a speaker."""
        return self._utt_ids[speaker_id]

    def __iter__(self) -> Iterator[str]:
        """Yield the speakers."""
        return iter(self._utt_ids)

    def __len__(self) -> int:
        """Return the number of speakers."""
        return len(self._utt_ids)


@dataclass(frozen=True)
class Manifest:
    """The utterances of a manifest, in order; their positions are the indices of a runner.

    `digest` is a hash of the file's content.
    """

    path: Path
    utterances: Utterances
    digest: str


def locate_audio(manifest_path: Path, wav_path: str) -> str:
    """Return where `wav_path` lies: a relative one is relative to the manifest's folder."""
    # A quarter of the cost of joining paths as such, which every utterance has to bear.
    return os.path.join(os.path.dirname(manifest_path), wav_path)  # noqa: PTH118, PTH120


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        ManifestError: One line, ``<file>:<line>: <reason>``, for each line that is wrong.

    """
    version = _version(path)
    starts, hashes = array("q"), array("q")
    problems: list[tuple[int, str]] = []
    digest = hashlib.sha256()
    for number, start, line in _lines(path, digest):
        try:
            utterance = _parse(line)
        except ManifestError as problem:
            problems.append((number, str(problem)))
        else:
            starts.append(start)
            hashes.append(hash(utterance.utt_id))
    problems += _repetitions(path, hashes)
    if not starts and not problems:
        problems = [(1, "no utterance at all")]
    if problems:
        raise ManifestError(
            "\n".join(f"{path}:{number}: {problem}" for number, problem in sorted(problems))
        )
    return Manifest(path, Utterances(path, starts, version), digest.hexdigest())


def hash_manifest(path: Path) -> str:
    """Return a hash of a manifest's content, as `Manifest.digest`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns


def _lines(path: Path, digest: "hashlib._Hash | None" = None) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, first byte and content of the lines that are not blank.

    Only a line feed ends a line.
    """
    start = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if digest is not None:
                    digest.update(line)
                content = _content(line, is_first=number == 1)
                if not _is_blank(content):
                    yield number, start, content
                start += len(line)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error


def _content(line: bytes, is_first: bool) -> bytes:
    """Return a line without what ends it, and the first one without a byte order mark."""
    content = line.removeprefix(BYTE_ORDER_MARK) if is_first else line
    return content.removesuffix(b"\n").removesuffix(b"\r")


def _is_blank(content: bytes) -> bool:
    return not content.strip(b" ")


def _line_starts(path: Path) -> NDArray[np.int64]:
    """Return the first byte of every line of a file that is not blank, without parsing them."""
    found = []
    start, is_new_line = 0, True
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            characters = np.frombuffer(block, dtype=np.uint8)
            begins = np.flatnonzero(characters == ord("\n")) + 1
            begins = np.concatenate([np.zeros(int(is_new_line), dtype=np.int64), begins])
            is_new_line = block.endswith(b"\n")
            begins = begins[begins < len(block)]
            # Few lines begin as a blank one may; those are looked at.
            suspects = np.isin(characters[begins], np.frombuffer(b" \r\n\xef", dtype=np.uint8))
            for i in np.flatnonzero(suspects):
                suspects[i] = _is_blank_at(path, start + int(begins[i]))
            found.append(begins[~suspects] + start)
            start += len(block)
    return np.concatenate([np.zeros(0, dtype=np.int64), *found])


def _is_blank_at(path: Path, start: int) -> bool:
    with path.open("rb") as file:
        file.seek(start)
        return _is_blank(_content(file.readline(), is_first=start == 0))


def _repetitions(path: Path, hashes: "array[int]") -> Iterator[tuple[int, str]]:
    """Yield number and problem of the lines whose utt_id an earlier one has.

    Args:
        path: The manifest.
        hashes: The hashes of its utt_ids, by which the few lines are found that may be such.

    """
    ordered = np.sort(np.asarray(hashes, dtype=np.int64))
    repeated = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    line_of: dict[str, int] = {}
    for number, _, line in _lines(path) if repeated else ():
        try:
            utt_id = _parse(line).utt_id
        except ManifestError:
            continue  # of which another problem tells
        if hash(utt_id) in repeated:
            first = line_of.setdefault(utt_id, number)
            if first != number:
                yield number, f"repeated utt_id {utt_id!r}, first on line {first}"


def _parse(line: bytes) -> Utterance:
    try:
        columns = line.decode("utf-8").split("\t")
    except UnicodeDecodeError as error:
        raise ManifestError("text that is not UTF-8") from error
    if len(columns) < MIN_COLUMNS:
        raise ManifestError(
            f"{len(columns)} columns, not utt_id, wav_path, text and speaker_id separated by tabs"
        )
    utt_id, wav_path, _, speaker_id = columns[:MIN_COLUMNS]
    _check_utt_id(utt_id)
    if not wav_path:
        raise ManifestError("an empty wav_path")
    if has_control_character(wav_path):
        raise ManifestError(f"wav_path {wav_path!r} has a control character")
    times = _times(columns[MIN_COLUMNS:])
    segment = _segment(times)
    seconds = segment.end - segment.start if segment else times.get("seconds")
    return Utterance(utt_id, wav_path, speaker_id, seconds, segment)


def _check_utt_id(utt_id: str) -> None:
    """Refuse what would not do as the plain name of a file."""
    if not utt_id:
        raise ManifestError("an empty utt_id")
    if "/" in utt_id:
        raise ManifestError(f"utt_id {utt_id!r} has a slash")
    if utt_id.startswith("."):
        raise ManifestError(f"utt_id {utt_id!r} starts with a dot")
    if has_control_character(utt_id):
        raise ManifestError(f"utt_id {utt_id!r} has a control character")
    if len(utt_id.encode()) > MAX_UTT_ID_BYTES:
        raise ManifestError(f"utt_id {utt_id!r} is longer than {MAX_UTT_ID_BYTES} bytes")


def has_control_character(text: str) -> bool:
    """Tell whether there is one of C0 or C1, a line feed say."""
    return CONTROL_CHARACTER.search(text) is not None


def _times(more_columns: list[str]) -> dict[str, float]:
    """Return what columns such as ``seconds=1.75``, ``start=1.5`` and ``end=3.25`` tell."""
    times: dict[str, float] = {}
    for column in more_columns:
        name, equals, value = column.partition("=")
        if equals and name in TIMES:
            if name in times:
                raise ManifestError(f"a second {name}=")
            try:
                times[name] = float(value)
            except ValueError as error:
                raise ManifestError(f"{column!r} is no time in seconds") from error
    if not 0 < times.get("seconds", 1.0) < float("inf"):
        raise ManifestError(f"seconds={times['seconds']:g} is no duration")
    return times


def _segment(times: dict[str, float]) -> Segment | None:
    """Return the segment that a line tells, None without one."""
    start, end = times.get("start"), times.get("end")
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise ManifestError("start= and end= belong together, one is missing")
    if not 0 <= start < end < float("inf"):
        raise ManifestError(f"start={start:g} and end={end:g}: the end must come after the start")
    return Segment(start, end)
