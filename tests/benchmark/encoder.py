"""Benchmark of the encoder alone: this project against SpeechBrain, one utterance at a time.

Both embed the same signals in turn, in several rounds, with a full-size ECAPA-TDNN of random
weights; the ratio of the medians is what counts. Reading and writing are left out.

Run it as ``make benchmark``.
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import soundfile
import torch
from torch.nn.functional import cosine_similarity

from xvectors.speechbrain_encoder import SAMPLE_RATE, SpeechBrainEncoder

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "config" / "demo"
sys.path.insert(0, str(DEMO))

import make_encoder  # noqa: E402 - it lies beside the demo

FULL_SIZE = make_encoder.HYPERPARAMS.replace(
    "[64, 64, 64, 64, 192]", "[1024, 1024, 1024, 1024, 3072]"
).replace("attention_channels: 32\n    se_channels: 32", "attention_channels: 128")
PRECISIONS = ("fp32", "bf16")


def speech(encoder: SpeechBrainEncoder, seconds: float, n_utterances: int) -> list[torch.Tensor]:
    """Return different stretches of the demo's speech, of so many seconds each."""
    parts = []
    for path in sorted((DEMO / "wav").glob("*/*_0[0-3].*")):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        parts.append(encoder.normalize(torch.from_numpy(samples), rate))
    signal = torch.cat(parts)
    length = int(seconds * SAMPLE_RATE)
    starts = torch.linspace(0, len(signal) - length, n_utterances).long().tolist()
    return [signal[start : start + length] for start in starts]


def median_seconds(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median time of each contestant, taken in turn in every round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in times.items()}


def main() -> None:
    """Print the ratios and the errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="as many as a job has")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(
        f"{date.today()}, {platform.processor() or platform.machine()}, torch {torch.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        make_encoder.main(Path(folder), hyperparams=FULL_SIZE)
        encoders = {name: SpeechBrainEncoder(Path(folder), "cpu", name) for name in PRECISIONS}
    classifier = encoders["fp32"].classifier

    @torch.inference_mode()
    def one_by_one(signals: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([classifier.encode_batch(signal)[0] for signal in signals])

    for seconds, n_utterances in ((6.0, 8), (0.7, 40)):
        signals = speech(encoders["fp32"], seconds, n_utterances)
        expected = one_by_one(signals)
        contestants: dict[str, Callable[[], object]] = {
            "SpeechBrain": lambda signals=signals: one_by_one(signals),
        }
        for name, encoder in encoders.items():
            contestants[name] = lambda encoder=encoder, signals=signals: encoder.embed(signals)
        times = median_seconds(contestants, arguments.rounds)
        for name, encoder in encoders.items():
            found = encoder.embed(signals)
            error = ((found - expected).abs().amax(1) / expected.abs().amax(1)).max()
            centred = cosine_similarity(found - found.mean(0), expected - expected.mean(0)).min()
            print(
                f"{n_utterances} utterances of {seconds} s, {arguments.threads} threads, {name}: "
                f"{times['SpeechBrain'] / times[name]:.2f} times SpeechBrain one by one, largest "
                f"difference {error:.1e}, smallest cosine with the mean subtracted {centred:.6f}"
            )


if __name__ == "__main__":
    main()
