"""Exports of a split's embeddings to the formats of other tools."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xvectors.errors import ExportError
from xvectors.files.atomic import replacing
from xvectors.results.sorting import sorted_rows
from xvectors.results.speakers import read_speakers
from xvectors.results.tables import EmbeddedRow, load_embeddings, read_embedded, with_embeddings
from xvectors.storage.safetensors_file import write_vectors

# Rows in memory at a time. Also a good size for readers.
ROWS_PER_GROUP = 8192
KALDI_FILES = (
    *("xvector.ark", "xvector.scp", "spk_xvector.ark", "spk_xvector.scp"),
    *("utt2spk", "spk2utt"),
)


def export_safetensors(table: Path, output: Path, metadata: Mapping[str, str]) -> None:
    """Write one tensor of shape (dim,) per utterance, named like the utterance."""
    names = (row.utt_id for row in read_embedded(table))
    write_vectors(output, names, load_embeddings(read_embedded(table)), _dim(table), metadata)


def export_numpy(table: Path, array: Path, names: Path) -> None:
    """Write an array of shape (utterances, dim), float32, and a text file with a utt_id per row.

    Vectors are written one by one, so the array may be larger than memory.
    """
    n_rows = sum(1 for _ in read_embedded(table))
    header = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, _dim(table))}
    with (
        replacing(names) as new_names,
        new_names.open("w", encoding="utf-8", newline="\n") as lines,
        replacing(array) as new_array,
        new_array.open("wb") as rows,
    ):
        np.lib.format.write_array_header_1_0(rows, header)
        for row, vector in with_embeddings(read_embedded(table)):
            lines.write(f"{row.utt_id}\n")
            rows.write(vector.astype("<f4").tobytes())


def export_parquet(table: Path, output: Path, metadata: Mapping[str, str]) -> None:
    """Write a table of utt_id, speaker_id, embedding (float32, of length dim) and seconds."""
    import pyarrow as pa  # noqa: PLC0415 - only needed for this format
    from pyarrow import parquet  # noqa: PLC0415

    schema = pa.schema(
        {
            "utt_id": pa.string(),
            "speaker_id": pa.string(),
            "embedding": pa.list_(pa.float32(), _dim(table)),
            "seconds": pa.float64(),
        },
        metadata=dict(metadata),
    )
    with replacing(output) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        embedded = with_embeddings(read_embedded(table))
        while group := list(islice(embedded, ROWS_PER_GROUP)):
            rows, vectors = zip(*group, strict=True)
            columns = [
                pa.array([row.utt_id for row in rows]),
                pa.array([row.speaker_id for row in rows]),
                pa.FixedSizeListArray.from_arrays(
                    pa.array(np.concatenate(vectors)), type=schema.field("embedding").type
                ),
                pa.array([row.seconds for row in rows]),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def export_kaldi(table: Path, speakers: Path, folder: Path) -> None:
    """Write Kaldi's files of x-vectors, sorted in Kaldi's order.

    These are ``xvector.ark`` and ``xvector.scp`` of the utterances, ``spk_xvector.ark`` and
    ``spk_xvector.scp`` of the speakers, ``utt2spk`` and ``spk2utt``.

    Paths in ``.scp`` files are absolute, because Kaldi resolves relative ones from the current
    folder. In a moved folder, ``.ark`` files can be read at once. The next run updates the ``.scp``
    files, see `is_kaldi_in_place`.

    Raises:
        ExportError: A name is empty or contains a space, which is Kaldi's separator.

    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = sorted_rows((row[:3] for row in _kaldi_rows(table)), folder)
    embedded = with_embeddings(
        EmbeddedRow(utt_id, speaker, path, 0.0) for utt_id, speaker, path in rows
    )
    _write_ark(folder / "xvector", ((row.utt_id, vector) for row, vector in embedded))
    means = read_speakers(speakers)
    by_name = sorted(
        zip(means.speaker_ids, means.means, strict=True), key=lambda mean: mean[0].encode()
    )
    _write_ark(folder / "spk_xvector", by_name)
    pairs = ((row.utt_id, row.speaker_id) for row in _kaldi_rows(table))
    _write(folder / "utt2spk", (f"{' '.join(pair)}\n" for pair in sorted_rows(pairs, folder)))
    _write(folder / "spk2utt", _utterances_of_speakers(table, folder))


def is_kaldi_in_place(folder: Path) -> bool:
    """Tell whether a folder is complete, and its ``xvector.scp`` names its own ``xvector.ark``.

    After the folder was moved or copied, it does not.
    """
    if not all((folder / name).is_file() for name in KALDI_FILES):
        return False
    try:
        with (folder / "xvector.scp").open(encoding="utf-8") as file:
            first = next(file, None)
    except (OSError, UnicodeDecodeError):
        return False
    if first is None:
        return True
    _, _, place = first.partition(" ")
    return place.rpartition(":")[0] == str((folder / "xvector.ark").absolute())


def _utterances_of_speakers(table: Path, folder: Path) -> Iterator[str]:
    """Yield the pieces of ``spk2utt``. Each line is a speaker and all of their utterances."""
    pairs = ((row.speaker_id, row.utt_id) for row in _kaldi_rows(table))
    for speaker, own in groupby(sorted_rows(pairs, folder), key=itemgetter(0)):
        yield speaker
        yield from (f" {utt_id}" for _, utt_id in own)
        yield "\n"


def _write_ark(stem: Path, vectors: Iterable[tuple[str, NDArray[np.float32]]]) -> None:
    """Write ``<stem>.ark``, which holds binary vectors, and ``<stem>.scp``, its index.

    The bytes of a vector are those of ``Vector::Write`` in Kaldi's ``matrix/kaldi-vector.cc``.
    """
    ark, scp = stem.with_suffix(".ark"), stem.with_suffix(".scp")
    # The ark takes its name before the scp, which points into it.
    with (
        replacing(scp) as new_scp,
        new_scp.open("w", encoding="utf-8") as lines,
        replacing(ark) as new_ark,
        new_ark.open("wb") as arrays,
    ):
        for name, vector in vectors:
            arrays.write(f"{name} ".encode())
            lines.write(f"{name} {ark.absolute()}:{arrays.tell()}\n")
            arrays.write(b"\0BFV \4" + struct.pack("<i", len(vector)))
            arrays.write(vector.astype("<f4").tobytes())


def _write(path: Path, pieces: Iterable[str]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(pieces)


def _kaldi_rows(table: Path) -> Iterator[EmbeddedRow]:
    """Yield the rows of a table whose names Kaldi's files can hold.

    Raises:
        ExportError: A name is empty or contains a space.

    """
    for row in read_embedded(table):
        for key, name in (("utt_id", row.utt_id), ("speaker_id", row.speaker_id)):
            if name.split() != [name]:
                raise ExportError(
                    f"{row.utt_id}: {key} {name!r} is empty or contains a space, which is the "
                    "separator in Kaldi's files. Rename it in the manifest, or export to "
                    "parquet or safetensors"
                )
        yield row


def _dim(table: Path) -> int:
    """Return the length of a split's embeddings, 0 if it has none."""
    first = next(load_embeddings(read_embedded(table)), None)
    return 0 if first is None else len(first)
