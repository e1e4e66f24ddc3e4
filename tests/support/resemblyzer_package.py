"""The Resemblyzer package itself, in a process of its own: ``python resemblyzer_package.py``."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# Its import names a deprecated namespace of SciPy, which the process may warn about.
SCRIPT = """
import json, sys

import numpy as np
from resemblyzer import VoiceEncoder, preprocess_wav

paths, output = json.loads(sys.argv[1]), sys.argv[2]
encoder = VoiceEncoder("cpu", verbose=False)
np.save(output, [encoder.embed_utterance(preprocess_wav(path)) for path in paths])
"""


def embed_with_package(paths: Sequence[Path], output: Path) -> np.ndarray:
    """Return ``embed_utterance(preprocess_wav(path))`` of each file, (files, 256).

    Args:
        paths: Audio files.
        output: An ``.npy`` file that the process writes.

    """
    names = json.dumps([str(path) for path in paths])
    # Several threads are slow where other tests run at the same time.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, names, str(output)],
        env=environment,
        check=True,
        capture_output=True,
    )
    return np.load(output)
