"""What `vad: silero` does to error rates and to speed, with toolkit resemblyzer.

    python tests/benchmark/vad.py /corpora/librispeech /corpora/digits

A folder has a folder per speaker, or files named WORD_SPEAKER_TAKE.wav. All pairs of utterances are
scored. Processor time is that of one thread. Prints Markdown.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

from xvectors.audio.opening import AUDIO_SUFFIXES
from xvectors.config.toolkits import local_path
from xvectors.encoders.encoder import Encoder, load_encoder
from xvectors.encoders.silero.detector import SileroDetector
from xvectors.errors import UtteranceError
from xvectors.results.vectors import normalize_lengths
from xvectors.verification.error_rates import ScoredTrials, equal_error_rate, error_rates

BATCH_SIZE = 20
N_ROUNDS = 3
HEADER = (
    "| corpus | vad | failed | seconds embedded | EER | EER, embedded in both | reading | all |"
)


def embed(encoder: Encoder, paths):
    """Return embeddings and signals by path, and the seconds of reading and of everything."""
    vectors, signals, reading = {}, {}, 0.0
    begun = time.process_time()
    for first in range(0, len(paths), BATCH_SIZE):
        before, some = time.process_time(), {}
        for path in paths[first : first + BATCH_SIZE]:
            try:
                some[path] = encoder.read(str(path))
            except UtteranceError as error:
                assert "no speech" in str(error), error
        reading += time.process_time() - before
        vectors.update(zip(some, encoder.embed(list(some.values())).numpy(), strict=True))
        signals.update(some)
    return vectors, signals, reading, time.process_time() - begun


def error_rate(vectors, speakers) -> float:
    """Return the equal error rate of all pairs."""
    paths = list(vectors)
    unit = normalize_lengths(np.stack([vectors[path] for path in paths]))
    pairs = np.array(np.triu_indices(len(paths), 1)).T
    of_pairs = np.array([speakers[path] for path in paths])[pairs]
    scores = (unit[pairs[:, 0]] * unit[pairs[:, 1]]).sum(1).astype(np.float64)
    trials = ScoredTrials(scores, of_pairs[:, 0] == of_pairs[:, 1], of_pairs)
    return equal_error_rate(error_rates(trials))


def measure(folder: Path, encoders) -> None:
    """Print a row of the table for each encoder."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in AUDIO_SUFFIXES)
    names = [p.parent.name if p.parent != folder else p.stem.split("_")[1] for p in paths]
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    speakers = {path: numbers[name] for path, name in zip(paths, names, strict=True)}
    rounds = [{vad: embed(one, paths) for vad, one in encoders.items()} for _ in range(N_ROUNDS)]
    both = set.intersection(*(set(found[0]) for found in rounds[0].values()))
    for vad in encoders:
        vectors, signals, _, _ = rounds[0][vad]
        seconds = sum(one.decoded.speech_seconds or one.decoded.seconds for one in signals.values())
        common = {path: vector for path, vector in vectors.items() if path in both}
        times = [", ".join(f"{found[vad][i]:.2f}" for found in rounds) for i in (2, 3)]
        rates = f"{error_rate(vectors, speakers):.2%} | {error_rate(common, speakers):.2%}"
        n_failed = len(paths) - len(vectors)
        print(
            f"| {folder.name} | {vad} | {n_failed} | {seconds:.1f} | {rates} "
            f"| {times[0]} | {times[1]} |"
        )


def main() -> None:
    """Measure every folder."""
    torch.set_num_threads(1)
    path = local_path("resemblyzer")
    encoders = {vad: load_encoder("resemblyzer", path, "cpu", "fp32") for vad in ("null", "silero")}
    encoders["silero"].embed_speech_alone(SileroDetector())
    print(HEADER)
    print("|---" * (HEADER.count("|") - 1) + "|")
    for folder in sys.argv[1:]:
        measure(Path(folder), encoders)


if __name__ == "__main__":
    main()
