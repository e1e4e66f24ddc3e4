"""Tables of a split's embedded, failed and excluded utterances, and access to the embeddings.

A table's paths are relative to its own folder, so that the folder can be moved or copied. Rows in
memory hold paths that can be opened.
"""

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, tee
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xvectors.errors import ShardError, first_line
from xvectors.files.atomic import replacing
from xvectors.storage.packs import PACK_SUFFIX, Pack
from xvectors.storage.pt_file import load_vector


class EmbeddedRow(NamedTuple):
    """An embedded utterance.

    `path` is the file of its embedding, and can be opened. `seconds` is the duration of its audio,
    `speech_seconds` that of the speech in it, None if it is not known.
    """

    utt_id: str
    speaker_id: str
    path: str
    seconds: float
    speech_seconds: float | None = None


WITH_SPEECH = EmbeddedRow._fields
WITHOUT_SPEECH = EmbeddedRow._fields[:-1]


class ExcludedRow(NamedTuple):
    """An utterance that is too short or too long. `wav_path` is the manifest's."""

    utt_id: str
    wav_path: str
    seconds: float


class FailureRow(NamedTuple):
    """An utterance that could not be embedded, and why. `wav_path` is the manifest's."""

    utt_id: str
    wav_path: str
    reason: str


def write_embedded(path: Path, rows: Iterable[EmbeddedRow], with_speech: bool = False) -> None:
    """Write the table of the embedded utterances, with a column for seconds of speech if wanted.

    Raises:
        ShardError: An embedding lies outside the table's folder.

    """
    place = os.path.abspath(path.parent)  # noqa: PTH100 - links are left as they are

    @lru_cache(maxsize=1024)
    def relative(folder: str) -> str:
        found = os.path.relpath(folder or ".", place)
        if found.split(os.sep, 1)[0] == os.pardir:
            raise ShardError(
                f"{folder}: lies outside {path.parent}, where embeddings must be. Change the "
                "runner's output_path"
            )
        return "" if found == os.curdir else found + "/"

    def fields(row: EmbeddedRow) -> tuple[str, ...]:
        folder, name = os.path.split(row.path)
        first = row.utt_id, row.speaker_id, relative(folder) + name, f"{row.seconds:.4f}"
        if not with_speech:
            return first
        return *first, "" if row.speech_seconds is None else f"{row.speech_seconds:.4f}"

    write_table(path, WITH_SPEECH if with_speech else WITHOUT_SPEECH, map(fields, rows))


def write_failures(path: Path, rows: Iterable[FailureRow]) -> None:
    """Write the table of the utterances that could not be embedded."""
    write_table(path, FailureRow._fields, rows)


def write_excluded(path: Path, rows: Iterable[ExcludedRow]) -> None:
    """Write the table of the utterances that are too short or too long."""
    fields = ((row.utt_id, row.wav_path, f"{row.seconds:.4f}") for row in rows)
    write_table(path, ExcludedRow._fields, fields)


def read_embedded(path: Path) -> Iterator[EmbeddedRow]:
    """Yield the embedded utterances, in the manifest's order.

    Raises:
        ShardError: The table is missing or damaged, or names a file outside its folder.

    """
    folder = f"{path.parent}/"
    for place, fields in _read(path, WITHOUT_SPEECH, WITH_SPEECH):
        utt_id, speaker_id, output, seconds, *speech = fields
        if not _is_inside(output):
            raise ShardError(
                f"{place}: {output} lies outside {path.parent}. Rerun the same command to make "
                "this table again"
            )
        try:
            speech_seconds = float(speech[0]) if speech and speech[0] else None
            yield EmbeddedRow(utt_id, speaker_id, folder + output, float(seconds), speech_seconds)
        except ValueError as error:
            raise _damaged(place) from error


def _is_inside(output: str) -> bool:
    """Tell whether a relative path stays in its folder."""
    if output.startswith("/"):
        return False
    return ".." not in output or os.pardir not in output.split("/")


def read_failures(path: Path) -> Iterator[FailureRow]:
    """Yield the utterances that could not be embedded, in the manifest's order.

    Raises:
        ShardError: The table is missing or damaged.

    """
    for _, fields in _read(path, FailureRow._fields):
        yield FailureRow(*fields)


def read_excluded(path: Path) -> Iterator[ExcludedRow]:
    """Yield the utterances that are too short or too long, in the manifest's order.

    Raises:
        ShardError: The table is missing or damaged.

    """
    for place, (utt_id, wav_path, seconds) in _read(path, ExcludedRow._fields):
        try:
            yield ExcludedRow(utt_id, wav_path, float(seconds))
        except ValueError as error:
            raise _damaged(place) from error


def has_sound_start(rows: Iterator[NamedTuple]) -> bool:
    """Tell whether the header and the first of the `rows` of a table above can be read."""
    try:
        next(rows, None)
    except ShardError:
        return False
    return True


def load_embedding(path: str) -> NDArray[np.float32]:
    """Return an embedding, shape (dim,).

    Raises:
        ShardError: The file is missing or damaged.

    """
    try:
        return load_vector(Path(path))
    except Exception as error:  # torch may raise anything for a damaged file
        raise ShardError(
            f"{path}: not an embedding ({first_line(error)}). Rerun the same command"
        ) from error


def load_embeddings(rows: Iterable[EmbeddedRow]) -> Iterator[NDArray[np.float32]]:
    """Yield the embeddings of utterances, shape (dim,) each.

    Raises:
        ShardError: A file is missing or damaged, or its embedding is longer or shorter than the
            first one.

    """
    first: tuple[str, int] | None = None
    opened: dict[str, Pack] = {}
    for row in rows:
        if row.path.endswith(PACK_SUFFIX):
            if row.path not in opened:
                opened[row.path] = Pack(Path(row.path))
            embedding = opened[row.path][row.utt_id]
        else:
            embedding = load_embedding(row.path)
        first = first or (row.path, len(embedding))
        if len(embedding) != first[1]:
            raise ShardError(
                f"{row.path}: holds {len(embedding)} numbers, {first[0]} {first[1]}. Embeddings "
                "must have the same length"
            )
        yield embedding


def with_embeddings(
    rows: Iterable[EmbeddedRow],
) -> Iterator[tuple[EmbeddedRow, NDArray[np.float32]]]:
    """Yield utterances with their embeddings, see `load_embeddings`."""
    named, placed = tee(rows)
    return zip(named, load_embeddings(placed), strict=True)


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Write a table, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines("\t".join(row) + "\n" for row in chain([header], rows))


def _read(path: Path, *headers: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Yield place and fields of each line after one of the headers.

    Only a line feed ends a line.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            number, n_fields = 0, 0
            for number, line in enumerate(file, start=1):
                fields = line.removesuffix("\n").split("\t")
                place = f"{path}:{number}"
                if number == 1:
                    n_fields = len(fields) if tuple(fields) in headers else 0
                if len(fields) != n_fields:
                    raise _damaged(place)
                if number > 1:
                    yield place, fields
            if number == 0:
                raise _damaged(str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(str(path)) from error


def _damaged(place: str) -> ShardError:
    return ShardError(f"{place}: not a table of utterances. Delete it and rerun the same command")
