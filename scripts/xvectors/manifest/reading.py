"""Reading a manifest: all of its lines, checked."""

import hashlib
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xvectors.errors import ManifestError
from xvectors.manifest.lines import numbered_lines, parse_line, version_of
from xvectors.manifest.utterances import Utterances


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
    version = version_of(path)
    starts, hashes = array("q"), array("q")
    problems: list[tuple[int, str]] = []
    digest = hashlib.sha256()
    for number, start, line in numbered_lines(path, digest):
        try:
            utterance = parse_line(line)
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


def _repetitions(path: Path, hashes: "array[int]") -> Iterator[tuple[int, str]]:
    """Yield number and problem of the lines whose utt_id an earlier one has.

    Args:
        path: The manifest.
        hashes: The hashes of its utt_ids, by which the few lines are found that may be such.

    """
    ordered = np.sort(np.asarray(hashes, dtype=np.int64))
    repeated = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    line_of: dict[str, int] = {}
    for number, _, line in numbered_lines(path) if repeated else ():
        try:
            utt_id = parse_line(line).utt_id
        except ManifestError:
            continue  # of which another problem tells
        if hash(utt_id) in repeated:
            first = line_of.setdefault(utt_id, number)
            if first != number:
                yield number, f"repeated utt_id {utt_id!r}, first on line {first}"
