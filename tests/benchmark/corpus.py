"""What the benchmark runs on: a full-size encoder, and speech of LibriTTS's lengths."""

import sys
from pathlib import Path

import numpy
import soundfile
from torchaudio.functional import resample

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "config" / "demo"
sys.path.insert(0, str(REPOSITORY / "tests" / "support"))

from random_encoder import HYPERPARAMS, write_random_encoder  # noqa: E402 - this is no package

SAMPLE_RATE = 24000
# LibriTTS: 24 kHz, 5.6 s on average (Zen et al., 2019: 585 hours, 375,086 utterances), none
# below 0.7 s here and few beyond 20 s.
MEAN_SECONDS, SHORTEST, LONGEST = 5.6, 0.7, 20.0

# What names an utterance that is in a manifest once more.
REPEATED = "-again"

FULL_SIZE = HYPERPARAMS.replace("[64, 64, 64, 64, 192]", "[1024, 1024, 1024, 1024, 3072]").replace(
    "attention_channels: 32\n    se_channels: 32", "attention_channels: 128"
)


def make_full_size_encoder(folder: Path) -> None:
    """Write an ECAPA-TDNN of the size of speechbrain/spkrec-ecapa-voxceleb, random weights."""
    write_random_encoder(folder, hyperparams=FULL_SIZE)


def librittslike_lengths(n_utterances: int, seed: int = 7) -> numpy.ndarray:
    """Return lengths in seconds, skewed as a corpus of read sentences has them."""
    generator = numpy.random.default_rng(seed)
    lengths = generator.gamma(shape=1.8, scale=MEAN_SECONDS / 1.8, size=n_utterances)
    lengths = lengths.clip(SHORTEST, LONGEST)
    return (lengths * MEAN_SECONDS / lengths.mean()).clip(SHORTEST, LONGEST)


def write_speech(folder: Path, lengths: numpy.ndarray) -> list[Path]:
    """Write utterances of so many seconds, and return their files."""
    samples = demo_speech()
    starts = numpy.linspace(0, len(samples) - LONGEST * SAMPLE_RATE, len(lengths)).astype(int)
    folder.mkdir(parents=True)
    paths = []
    for number, (start, seconds) in enumerate(zip(starts, lengths, strict=True)):
        n_samples = round(seconds * SAMPLE_RATE)
        paths.append(folder / f"utterance{number:05d}.wav")
        soundfile.write(paths[-1], samples[start : start + n_samples], SAMPLE_RATE)
    return paths


def write_manifests(folder: Path, paths: list[Path], n_parts: int, repeats: int = 1) -> None:
    """Write `n_parts` manifests that share out files, each of which may be there repeatedly."""
    parts: list[list[str]] = [[] for _ in range(n_parts)]
    for repeat in range(repeats):
        for number, path in enumerate(paths):
            utt_id = f"{path.stem}{REPEATED}{repeat}" if repeat else path.stem
            parts[number % n_parts].append(f"{utt_id}\t{path}\twords\tspeaker\n")
    folder.mkdir(parents=True, exist_ok=True)
    for number, lines in enumerate(parts):
        (folder / f"part{number}.tsv").write_text("".join(lines), encoding="utf-8")


def demo_speech() -> numpy.ndarray:
    """Return the demo's speech in a row, at 24 kHz, mono."""
    parts = []
    for path in sorted((DEMO / "wav").glob("*/*")):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        parts.append(resample_to_corpus(samples.mean(axis=1), rate))
    return numpy.concatenate(parts)


def resample_to_corpus(samples: numpy.ndarray, rate: int) -> numpy.ndarray:
    """Return samples at the corpus's rate."""
    import torch  # noqa: PLC0415

    return resample(torch.from_numpy(samples), rate, SAMPLE_RATE).numpy()
