"""Print how well an encoder tells speakers apart: its equal error rate over all pairs.

Run it as ``python config/demo/evaluate_encoder.py ENCODER MANIFEST...``: the folder of a
SpeechBrain encoder, and the manifests of the utterances to compare, those of all together.
"""

import argparse
from pathlib import Path

import numpy as np

from xvectors.encoders.encoder import load_encoder
from xvectors.manifest.reading import locate_audio, read_manifest
from xvectors.results.vectors import Vectors, normalize_lengths
from xvectors.verification.error_rates import (
    ScoredTrials,
    equal_error_interval,
    equal_error_rate,
    error_rates,
)


def embed(encoder_folder: Path, manifests: list[Path]) -> tuple[Vectors, list[str]]:
    """Return the embeddings, (utterances, dim), and the speaker of each utterance."""
    encoder = load_encoder("speechbrain", encoder_folder, "cpu", "fp32")
    signals, speakers = [], []
    for manifest in manifests:
        for utterance in read_manifest(manifest).utterances:
            path = locate_audio(manifest, utterance.wav_path)
            signals.append(encoder.read(path, utterance.segment))
            speakers.append(utterance.speaker_id)
    return encoder.embed(signals).numpy(), speakers


def score_pairs(embeddings: Vectors, speakers: list[str]) -> ScoredTrials:
    """Return the cosines of all pairs of utterances."""
    first, second = np.triu_indices(len(speakers), 1)
    directions = normalize_lengths(embeddings).astype(np.float64)
    _, numbers = np.unique(speakers, return_inverse=True)
    pairs = np.stack([numbers[first], numbers[second]], axis=1)
    scores = (directions @ directions.T)[first, second]
    return ScoredTrials(scores, pairs[:, 0] == pairs[:, 1], pairs)


def main() -> None:
    """Print the equal error rate of what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder", type=Path, metavar="ENCODER")
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST")
    arguments = parser.parse_args()
    embeddings, speakers = embed(arguments.encoder, arguments.manifests)
    centred = embeddings - embeddings.mean(axis=0)
    for name, vectors in (("as they are", embeddings), ("mean subtracted", centred)):
        trials = score_pairs(vectors, speakers)
        low, high = equal_error_interval(trials)
        print(
            f"{name}: {trials.is_target.sum()} pairs of one speaker, "
            f"{(~trials.is_target).sum()} of two, EER {equal_error_rate(error_rates(trials)):.1%} "
            f"(95 % interval {low:.1%} to {high:.1%})"
        )


if __name__ == "__main__":
    main()
