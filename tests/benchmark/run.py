"""Benchmark: this project against SpeechBrain one by one and SpeechBrain's padded batches.

Every round runs all contestants in turn, each as whole jobs in processes of their own on the
whole machine; a ratio is taken within a round, and the median over the rounds is what counts. On
a GPU a contestant's processes stay for the next round, and this project goes through every
utterance repeatedly, as it would be done too soon.

Run it as ``make benchmark``; on a GPU machine as ``python tests/benchmark/run.py --device cuda``.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import torch
from corpus import (
    REPEATED,
    librittslike_lengths,
    make_full_size_encoder,
    write_manifests,
    write_speech,
)
from torch.nn.functional import cosine_similarity, linear
from torch.utils.flop_counter import FlopCounterMode

from xvectors.encoders.device import has_bf16

HERE = Path(__file__).resolve().parent
CORPORA = ("librittslike", "short")
STAGES = ("read", "embed", "write")
GPU_PRECISIONS = ("fp32", "tf32", "bf16")
GPU_BATCH_SIZE = 128
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class Contestant:
    """What runs in a round: so many jobs at once, and what came out of every round.

    Every utterance is in their manifests `repeats` times.
    """

    name: str
    command: list[str]
    n_jobs: int
    threads: int
    precision: str = "fp32"
    repeats: int = 1
    rounds: list[dict[str, float]] = field(default_factory=list)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.name}, {self.precision}"

    def end(self) -> None:
        """End its processes."""
        for process in self.processes:
            process.communicate()
            if process.returncode != 0:
                sys.exit(f"{self.name} failed")
        self.processes = []

    def median(self, key: str) -> float:
        return statistics.median(result[key] for result in self.rounds)

    def ratio(self, key: str, other: "Contestant") -> float:
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(mine[key] / theirs[key] for mine, theirs in pairs)


def cpu_precisions() -> list[str]:
    """Return the precisions that this machine's processor has."""
    return ["fp32", "bf16"] if has_bf16("cpu") else ["fp32"]


def cpu_contestants(cores: int) -> list[Contestant]:
    """Return what competes on a CPU: one job with all cores, or a job on each."""
    found = []
    for n_jobs, threads in dict.fromkeys([(1, cores), (cores, 1)]):
        found.append(Contestant("SpeechBrain one by one", ["loop"], n_jobs, threads))
        if n_jobs == 1:
            found.append(Contestant("SpeechBrain padded", ["padded"], n_jobs, threads))
        for precision in cpu_precisions():
            command = ["xvectors", "--precision", precision]
            found.append(Contestant("xvectors", command, n_jobs, threads, precision))
    return found


def gpu_contestants(cores: int, repeats: int) -> list[Contestant]:
    """Return what competes on one GPU."""
    found = [
        Contestant("SpeechBrain one by one", ["loop"], 1, cores),
        Contestant("SpeechBrain padded", ["padded"], 1, cores),
    ]
    kinds = [(20, "fp32"), *((GPU_BATCH_SIZE, precision) for precision in GPU_PRECISIONS)]
    for batch_size, precision in kinds:
        command = ["xvectors", "--precision", precision, "--batch-size", str(batch_size)]
        name = f"xvectors, batches of {batch_size}"
        found.append(Contestant(name, command, 1, cores, precision, repeats))
    return found


def stage_contestants(device: str, cores: int, repeats: int) -> list[Contestant]:
    """Return this project's stages, each on its own: with every core, the network with one job."""
    is_cpu = device == "cpu"
    found = []
    for stage in STAGES:
        n_jobs = 1 if stage == "embed" and not is_cpu else cores
        precisions = ["fp32"]
        if stage == "embed":
            precisions = cpu_precisions() if is_cpu else list(GPU_PRECISIONS)
        for precision in precisions:
            command = ["stage", "--stage", stage, "--precision", precision]
            command += ["--batch-size", str(GPU_BATCH_SIZE)]
            found.append(Contestant(stage, command, n_jobs, 1, precision, repeats))
    return found


class Bench:
    """A corpus, an encoder and a device on which contestants run."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder = folder
        self.device = device
        self.speech: dict[str, list[Path]] = {}
        self.encoder = folder / "encoder"
        make_full_size_encoder(self.encoder)

    def make_corpus(self, corpus: str, lengths: Any) -> None:
        """Write speech of so many seconds each."""
        self.speech[corpus] = write_speech(self.folder / corpus / "wav", lengths)

    def manifest(self, corpus: str, contestant: Contestant, number: int) -> Path:
        """Return the manifest of a contestant's job."""
        folder = self.folder / corpus / f"{contestant.n_jobs}-{contestant.repeats}"
        if not folder.exists():
            paths = self.speech[corpus]
            write_manifests(folder, paths, contestant.n_jobs, contestant.repeats)
        return folder / f"part{number}.tsv"

    def run(self, corpus: str, contestant: Contestant) -> Path:
        """Run a contestant's jobs at once, note their speed, and return where they wrote."""
        output = self.folder / "output" / corpus / f"{time.monotonic_ns()}"
        if not contestant.processes:
            self._start(corpus, contestant)
        for number, process in enumerate(contestant.processes):
            (output / str(number)).mkdir(parents=True)
            process.stdin.write(f"{output / str(number)}\n")
            process.stdin.flush()
        accounts = []
        for process in contestant.processes:
            printed = process.stdout.readline()
            if not printed:
                sys.exit(f"{contestant.name} failed")
            accounts.append(json.loads(printed))
        if self.device == "cpu":
            contestant.end()
        audio = sum(account["audio_seconds"] for account in accounts)
        whole = max(account["startup_seconds"] + account["wall_seconds"] for account in accounts)
        contestant.rounds.append(
            {
                "steady": sum(a["audio_seconds"] / a["wall_seconds"] for a in accounts),
                "utterances": sum(a["n_utterances"] / a["wall_seconds"] for a in accounts),
                "whole": audio / whole,
                "startup_seconds": max(account["startup_seconds"] for account in accounts),
                "peak_bytes": max(account["peak_bytes"] for account in accounts),
                "gpu_peak_bytes": sum(account["gpu_peak_bytes"] for account in accounts),
            }
        )
        return output

    def _start(self, corpus: str, contestant: Contestant) -> None:
        for number in range(contestant.n_jobs):
            command = [sys.executable, HERE / "contestant.py", *contestant.command]
            command += ["--manifest", self.manifest(corpus, contestant, number)]
            command += ["--encoder", self.encoder, "--device", self.device]
            command += ["--threads", str(contestant.threads)]
            environment = os.environ | {"OMP_NUM_THREADS": str(contestant.threads)}
            contestant.processes.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )


def measured_peak(device: str, precision: str) -> float:
    """Return FLOP/s of the best large matrix product at hand."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    best = 0.0
    for size in (1024, 3072):
        x = torch.randn(3000 if device == "cpu" else 30000, size, device=device)
        weight = torch.randn(size, size, device=device)
        x, weight = x.to(DTYPES[precision]), weight.to(DTYPES[precision])
        products: list[Callable[[], object]] = [lambda x=x, w=weight: linear(x, w)]
        if device == "cpu":
            packed = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
            products.append(
                lambda x=x, w=packed: torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")
            )
        for product in products:
            best = max(best, 2 * len(x) * size * size / median_seconds(product, device))
    return best


def median_seconds(function: Callable[[], object], device: str, n: int = 7) -> float:
    """Return the median time of a call, after one that does not count."""
    taken = []
    for _ in range(n + 1):
        begun = time.perf_counter()
        function()
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def flop_per_audio_second(encoder: Path) -> float:
    """Return what SpeechBrain's own modules compute for a second of speech."""
    from contestant import load_speechbrain  # noqa: PLC0415

    classifier = load_speechbrain(encoder, "cpu")
    signal = torch.randn(1, 6 * 16000)
    with FlopCounterMode(display=False) as counter:
        classifier.encode_batch(signal)
    return counter.get_total_flops() / 6


def embeddings_in(output: Path) -> dict[str, torch.Tensor]:
    """Return the embeddings in a folder, of what was repeated the first ones."""
    return {
        path.stem: torch.load(path, weights_only=True)
        for path in output.rglob("*.pt")
        if REPEATED not in path.stem
    }


def errors(output: Path, reference: Path) -> dict[str, float]:
    """Return how far embeddings are from those that SpeechBrain gives one by one."""
    found, expected = embeddings_in(output), embeddings_in(reference)
    if found.keys() != expected.keys():
        sys.exit(f"{len(found)} embeddings instead of {len(expected)}")
    x = torch.stack([found[utt_id] for utt_id in sorted(found)])
    y = torch.stack([expected[utt_id] for utt_id in sorted(expected)])
    return {
        "largest_difference": float(((x - y).abs().amax(1) / y.abs().amax(1)).max()),
        "smallest_cosine": float(cosine_similarity(x, y).min()),
        "smallest_centred_cosine": float(cosine_similarity(x - x.mean(0), y - y.mean(0)).min()),
    }


def compete(
    bench: Bench, corpus: str, contestants: list[Contestant], rounds: int
) -> list[dict[str, Any]]:
    """Run all contestants on a corpus, print and return their results."""
    peaks: dict[str, list[float]] = {}
    for number in range(rounds):
        outputs = []
        for contestant in contestants:
            outputs.append(bench.run(corpus, contestant))
            print(f"{corpus}, round {number + 1} of {rounds}: {contestant.name}", file=sys.stderr)
        for precision in {contestant.precision for contestant in contestants}:
            peaks.setdefault(precision, []).append(measured_peak(bench.device, precision))
    alone = [contestant for contestant in contestants if contestant.command == ["loop"]]
    baseline = max(alone, key=lambda contestant: contestant.median("steady"))
    flop = flop_per_audio_second(bench.encoder)
    # As it is, SpeechBrain computes in TF32 on a GPU.
    exact = Contestant("exact", ["loop", "--exact"], 1, baseline.threads)
    reference = bench.run(corpus, exact)
    for contestant in [*contestants, exact]:
        contestant.end()
    results = []
    for contestant, output in zip(contestants, outputs, strict=True):
        peak = statistics.median(peaks[contestant.precision])
        results.append(
            {
                "name": contestant.name,
                "precision": contestant.precision,
                "n_jobs": contestant.n_jobs,
                "threads": contestant.threads,
                "is_baseline": contestant is baseline,
                "ratio_steady": contestant.ratio("steady", baseline),
                "ratio_whole": contestant.ratio("whole", baseline),
                "times_real_time": contestant.median("steady"),
                "utterances_per_second": contestant.median("utterances"),
                "share_of_peak": contestant.median("steady") * flop / peak,
                "startup_seconds": contestant.median("startup_seconds"),
                "peak_bytes": contestant.median("peak_bytes"),
                "gpu_peak_bytes": contestant.median("gpu_peak_bytes"),
                **errors(output, reference),
            }
        )
        print(line(results[-1]), flush=True)
    return results


def line(result: dict[str, Any]) -> str:
    """Return a result as a line of text."""
    return (
        f"{result['name']:<26} {result['precision']} {result['n_jobs']} x {result['threads']} "
        f"steady {result['ratio_steady']:5.2f} whole {result['ratio_whole']:5.2f} "
        f"peak share {result['share_of_peak']:4.0%} "
        f"memory {result['peak_bytes'] / 2**30:.1f} GB "
        f"difference {result['largest_difference']:.1e} "
        f"cosine {result['smallest_cosine']:.5f} "
        f"centred {result['smallest_centred_cosine']:.5f}"
    )


def run_stages(
    bench: Bench, corpus: str, cores: int, repeats: int, rounds: int
) -> list[dict[str, Any]]:
    """Run reading, embedding and writing alone, print and return their speed."""
    contestants = stage_contestants(bench.device, cores, repeats)
    for contestant in contestants:
        for _ in range(rounds):
            bench.run(corpus, contestant)
        contestant.end()
    results = []
    for contestant in contestants:
        result = {
            "corpus": corpus,
            "stage": contestant.name,
            "precision": contestant.precision,
            "n_jobs": contestant.n_jobs,
            "times_real_time": contestant.median("steady"),
            "utterances_per_second": contestant.median("utterances"),
        }
        results.append(result)
        print(
            f"{corpus}: {contestant.name} alone, {contestant.precision}, {contestant.n_jobs} "
            f"jobs: {result['utterances_per_second']:.0f} utterances/s",
            flush=True,
        )
    return results


def main() -> None:
    """Run the benchmark, print its results and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--utterances", type=int, default=96)
    parser.add_argument("--short-utterances", type=int, default=400)
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=CORPORA)
    parser.add_argument("--repeats", type=int, default=1, help="of every utterance, on a GPU")
    parser.add_argument(
        "--only", default="", help="contestants whose names, with the precision, match"
    )
    parser.add_argument("--output", type=Path, help="write the results there, as JSON")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    lengths = {
        "librittslike": librittslike_lengths(arguments.utterances),
        "short": [0.7] * arguments.short_utterances,
    }
    results: dict[str, Any] = {
        "date": str(date.today()),
        "machine": machine(arguments.device, cores),
        "command": " ".join(["python", "tests/benchmark/run.py", *sys.argv[1:]]),
        "rounds": arguments.rounds,
        "stages": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments.device)
        for corpus in arguments.corpora:
            if arguments.device == "cpu":
                contestants = cpu_contestants(cores)
            else:
                contestants = gpu_contestants(cores, arguments.repeats)
            contestants = [one for one in contestants if re.search(arguments.only, one.title)]
            seconds = lengths[corpus]
            bench.make_corpus(corpus, seconds)
            print(f"{corpus}: {len(seconds)} utterances, {sum(seconds):.0f} s")
            results[corpus] = compete(bench, corpus, contestants, arguments.rounds)
            write(results, arguments.output)
        for corpus in arguments.corpora:
            stages = run_stages(bench, corpus, cores, arguments.repeats, arguments.rounds)
            results["stages"] += stages
            write(results, arguments.output)


def write(results: dict[str, Any], output: Path | None) -> None:
    """Write what there is by now."""
    if output:
        output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def machine(device: str, cores: int) -> str:
    """Return what the benchmark ran on."""
    processor = torch.cpu.get_capabilities().get("cpu_name", platform.machine())
    gpu = "" if device == "cpu" else f", {torch.cuda.get_device_name()}"
    return f"{cores} cores of {processor}{gpu}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
