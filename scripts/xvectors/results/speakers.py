"""Speaker embeddings: the mean of a speaker's utterances."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xvectors.errors import missing_or_damaged
from xvectors.files.json_text import parse_json
from xvectors.results.tables import read_embedded, with_embeddings
from xvectors.results.vectors import normalize_lengths
from xvectors.storage.safetensors_file import write_vectors


class Speakers(NamedTuple):
    """Mean embeddings: `speaker_ids` (n) and `means` of shape (n, dim)."""

    speaker_ids: list[str]
    means: NDArray[np.float32]


def average_speakers(
    table: Path, output: Path, length_normalize: bool, metadata: Mapping[str, str]
) -> None:
    """Write the mean embedding of every speaker of a split, a tensor named like the speaker.

    Sums are float64, so that the order of the utterances hardly matters. The metadata hold each
    speaker's number of utterances, as JSON under ``counts``.

    Args:
        table: The table of the split's embedded utterances.
        output: The safetensors file to write.
        length_normalize: Whether to divide each embedding by its length first, so that all have
            equal weight.
        metadata: Further metadata of the file.

    """
    sums: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    for row, embedding in with_embeddings(read_embedded(table)):
        vector = normalize_lengths(embedding[None])[0] if length_normalize else embedding
        sums[row.speaker_id] = sums.get(row.speaker_id, 0.0) + vector.astype(np.float64)
        counts[row.speaker_id] = counts.get(row.speaker_id, 0) + 1
    names = sorted(sums)
    means = ((sums[name] / counts[name]).astype(np.float32) for name in names)
    dim = len(sums[names[0]]) if names else 0
    numbers = json.dumps({name: counts[name] for name in names}, ensure_ascii=False)
    write_vectors(output, names, means, dim, {**metadata, "counts": numbers})


def read_speakers(path: Path) -> Speakers:
    """Read a file written by `average_speakers`.

    Raises:
        ShardError: It is missing or damaged.

    """
    from safetensors import safe_open  # noqa: PLC0415 - rarely needed

    try:
        with safe_open(path, framework="numpy") as file:
            names = list(parse_json(file.metadata()["counts"]))
            means = [file.get_tensor(name) for name in names]
        shape = (len(means), len(means[0]) if means else 0)
        return Speakers(names, np.reshape(means, shape))
    except Exception as error:  # a damaged file may make the library raise anything
        raise missing_or_damaged(path) from error
