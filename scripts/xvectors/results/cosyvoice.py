"""Export to the two dictionaries that CosyVoice's recipes read."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xvectors.files.atomic import replacing
from xvectors.results.tables import read_embedded, with_embeddings

UTTERANCES = "utt2embedding.pt"
SPEAKERS = "spk2embedding.pt"


def export_cosyvoice(table: Path, folder: Path) -> None:
    """Write ``utt2embedding.pt`` and ``spk2embedding.pt``, dicts from name to a list of floats.

    A speaker's embedding is the plain mean of their utterances, as in CosyVoice's
    ``tools/extract_embedding.py``. The format is one pickle of Python floats, so a whole split
    is held in memory: about 6 kB for an utterance of 192 values.
    """
    utterances: dict[str, list[float]] = {}
    sums: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    for row, vector in with_embeddings(read_embedded(table)):
        utterances[row.utt_id] = vector.tolist()
        sums[row.speaker_id] = sums.get(row.speaker_id, 0.0) + vector.astype(np.float64)
        counts[row.speaker_id] = counts.get(row.speaker_id, 0) + 1
    speakers = {
        name: (total / counts[name]).astype(np.float32).tolist() for name, total in sums.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    _save(utterances, folder / UTTERANCES)
    _save(speakers, folder / SPEAKERS)


def is_complete(folder: Path) -> bool:
    """Tell whether a folder has both files."""
    return all((folder / name).is_file() for name in (UTTERANCES, SPEAKERS))


def _save(content: Mapping[str, list[float]], path: Path) -> None:
    import torch  # noqa: PLC0415 - only needed for this format

    # Pass an open file: PyTorch would write the name of a path into the archive.
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)
