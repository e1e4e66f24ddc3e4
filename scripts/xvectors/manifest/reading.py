"""Reading a manifest: all of its lines, checked."""

import hashlib
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from xvectors.config.paths import expand_path
from xvectors.errors import ManifestError
from xvectors.manifest.lines import numbered_lines, parse_line, version_of
from xvectors.manifest.oddities import Oddities, hint_at_other_format, is_header
from xvectors.manifest.utterances import Utterances

MAX_PROBLEMS_SHOWN = 10


@dataclass(frozen=True)
class Manifest:
    """The utterances of a manifest, in order; their positions are the indices of a runner.

    `digest` is a hash of the file's content. `warnings` are messages about lines that are allowed
    but look like mistakes.
    """

    path: Path
    utterances: Utterances
    digest: str
    warnings: tuple[str, ...] = ()


def locate_audio(manifest_path: Path, wav_path: str) -> str:
    """Return the path of an audio file: a relative one starts at the manifest's folder.

    A leading ``~`` or environment variable is expanded.
    """
    if wav_path.startswith(("~", "$")):
        wav_path = expand_path(wav_path)
    # A quarter of the cost of joining Path objects, for every utterance.
    return os.path.join(os.path.dirname(manifest_path), wav_path)  # noqa: PTH118, PTH120


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        ManifestError: ``<file>:<line>: <reason>`` for each line that is wrong, but not for more
            than `MAX_PROBLEMS_SHOWN`; then their number, and a hint if the whole file is of
            another kind.

    """
    version = version_of(path)
    starts, hashes = array("q"), array("q")
    problems, oddities = _Problems(), Oddities()
    first_line: bytes | None = None
    digest = hashlib.sha256()
    for number, start, line in numbered_lines(path, digest):
        if first_line is None:
            first_line = line
            if is_header(line):
                problems.add(number, f"line {number} looks like a header; delete it")
                continue
        try:
            utterance = parse_line(line)
        except ManifestError as problem:
            problems.add(number, str(problem))
        else:
            starts.append(start)
            hashes.append(hash(utterance.utt_id))
            oddities.collect(number, line, utterance)
    for number, repetition in _repetitions(path, hashes):
        problems.add(number, repetition)
    if not starts and not problems.total:
        problems.add(1, "no utterance at all")
    if problems.total:
        hint = hint_at_other_format(first_line or b"")
        raise ManifestError("\n".join(problems.lines(path, hint)))
    utterances = Utterances(path, starts, version)
    return Manifest(path, utterances, digest.hexdigest(), tuple(oddities.warnings(path)))


def read_manifest_once(path: Path) -> Manifest:
    """Read and check a manifest, as `read_manifest`; again only after it has changed."""
    return _read_version(path, version_of(path))


@cache
def _read_version(path: Path, version: tuple[int, int]) -> Manifest:
    return read_manifest(path)


class _Problems:
    """The problems of a manifest's lines: the first few, and the number of all."""

    def __init__(self) -> None:
        self.total = 0
        self._first: list[tuple[int, str]] = []

    def add(self, number: int, problem: str) -> None:
        self.total += 1
        self._first.append((number, problem))
        if len(self._first) > 2 * MAX_PROBLEMS_SHOWN:
            self._first = sorted(self._first)[:MAX_PROBLEMS_SHOWN]

    def lines(self, path: Path, hint: str | None) -> Iterator[str]:
        for number, problem in sorted(self._first)[:MAX_PROBLEMS_SHOWN]:
            yield f"{path}:{number}: {problem}"
        if self.total > MAX_PROBLEMS_SHOWN:
            shown = MAX_PROBLEMS_SHOWN
            yield f"{path}: {self.total} lines are refused; these are the first {shown}"
        if hint is not None:
            yield f"{path}: {hint}"


def hash_manifest(path: Path) -> str:
    """Return a hash of a manifest's content, as `Manifest.digest`; read only after a change."""
    return _hash_version(path, version_of(path))


@cache
def _hash_version(path: Path, version: tuple[int, int]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _repetitions(path: Path, hashes: "array[int]") -> Iterator[tuple[int, str]]:
    """Yield the number and the problem of each line that repeats the utt_id of an earlier one.

    Only lines whose utt_ids have equal hashes are compared.
    """
    ordered = np.sort(np.asarray(hashes, dtype=np.int64))
    repeated = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    line_of: dict[str, int] = {}
    for number, _, line in numbered_lines(path) if repeated else ():
        try:
            utt_id = parse_line(line).utt_id
        except ManifestError:
            continue  # it is refused already
        if hash(utt_id) in repeated:
            first = line_of.setdefault(utt_id, number)
            if first != number:
                yield number, f"repeated utt_id {utt_id!r}, first on line {first}"
