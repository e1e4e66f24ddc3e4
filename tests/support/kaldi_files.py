"""Kaldi's own reading of its files, apart from how the package writes them."""

from pathlib import Path

import kaldi_native_io
import numpy as np


def read_vectors(path: Path) -> dict[str, np.ndarray]:
    """Return the vectors of an ark or scp file, in its order."""
    kind = path.suffix.removeprefix(".")
    # Copied, as a vector is a view of memory that goes with its reader.
    with kaldi_native_io.SequentialFloatVectorReader(f"{kind}:{path}") as reader:
        return {name: np.array(vector) for name, vector in reader}
