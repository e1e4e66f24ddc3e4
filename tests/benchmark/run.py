"""Benchmark: this project against SpeechBrain one by one and SpeechBrain's padded batches.

Every round runs all candidates in turn, each as whole jobs in processes of their own on the
whole machine; a ratio is taken within a round, and the median over the rounds is what counts. On
a GPU a candidate's processes stay for the next round, and this project goes through every
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
class Candidate:
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

    def ratio(self, key: str, other: "Candidate") -> float:
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(mine[key] / theirs[key] for mine, theirs in pairs)


def cpu_precisions() -> list[str]:
    """Return the precisions that this machine's processor has."""
    return ["fp32", "bf16"] if has_bf16("cpu") else ["fp32"]


def cpu_candidates(cores: int) -> list[Candidate]:
    """Return what competes on a CPU: one job with all cores, or a job on each."""
    found = []
    for n_jobs, threads in dict.fromkeys([(1, cores), (cores, 1)]):
        found.append(Candidate("SpeechBrain one by one", ["loop"], n_jobs, threads))
        if n_jobs == 1:
            found.append(Candidate("SpeechBrain padded", ["padded"], n_jobs, threads))
        for precision in cpu_precisions():
            command = ["xvectors", "--precision", precision]
            found.append(Candidate("xvectors", command, n_jobs, threads, precision))
    return found


def gpu_candidates(cores: int, repeats: int) -> list[Candidate]:
    """Return what competes on one GPU."""
    found = [
        Candidate("SpeechBrain one by one", ["loop"], 1, cores),
        Candidate("SpeechBrain padded", ["padded"], 1, cores),
    ]
    kinds = [(20, "fp32"), *((GPU_BATCH_SIZE, precision) for precision in GPU_PRECISIONS)]
    for batch_size, precision in kinds:
        command = ["xvectors", "--precision", precision, "--batch-size", str(batch_size)]
        name = f"xvectors, batches of {batch_size}"
        found.append(Candidate(name, command, 1, cores, precision, repeats))
    return found


def stage_candidates(device: str, cores: int, repeats: int) -> list[Candidate]:
    """Return the stages of this project on their own: with all cores, the network with one job."""
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
            found.append(Candidate(stage, command, n_jobs, 1, precision, repeats))
    return found


class Bench:
    """A corpus, an encoder and a device on which candidates run."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder = folder
        self.device = device
        self.speech: dict[str, list[Path]] = {}
        self.encoder = folder / "encoder"
        make_full_size_encoder(self.encoder)

    def make_corpus(self, corpus: str, lengths: Any) -> None:
        """Write speech of so many seconds each."""
        self.speech[corpus] = write_speech(self.folder / corpus / "wav", lengths)

    def manifest(self, corpus: str, candidate: Candidate, number: int) -> Path:
        """Return the manifest of a candidate's job."""
        folder = self.folder / corpus / f"{candidate.n_jobs}-{candidate.repeats}"
        if not folder.exists():
            paths = self.speech[corpus]
            write_manifests(folder, paths, candidate.n_jobs, candidate.repeats)
        return folder / f"part{number}.tsv"

    def run(self, corpus: str, candidate: Candidate) -> Path:
        """Run a candidate's jobs at once, note their speed, and return where they wrote."""
        output = self.folder / "output" / corpus / f"{time.monotonic_ns()}"
        if not candidate.processes:
            self._start(corpus, candidate)
        for number, process in enumerate(candidate.processes):
            (output / str(number)).mkdir(parents=True)
            process.stdin.write(f"{output / str(number)}\n")
            process.stdin.flush()
        accounts = []
        for process in candidate.processes:
            printed = process.stdout.readline()
            if not printed:
                sys.exit(f"{candidate.name} failed")
            accounts.append(json.loads(printed))
        if self.device == "cpu":
            candidate.end()
        audio = sum(account["audio_seconds"] for account in accounts)
        whole = max(account["startup_seconds"] + account["wall_seconds"] for account in accounts)
        candidate.rounds.append(
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

    def _start(self, corpus: str, candidate: Candidate) -> None:
        for number in range(candidate.n_jobs):
            command = [sys.executable, HERE / "candidate.py", *candidate.command]
            command += ["--manifest", self.manifest(corpus, candidate, number)]
            command += ["--encoder", self.encoder, "--device", self.device]
            command += ["--threads", str(candidate.threads)]
            environment = os.environ | {"OMP_NUM_THREADS": str(candidate.threads)}
            candidate.processes.append(
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
    from candidate import load_speechbrain  # noqa: PLC0415

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
    bench: Bench, corpus: str, candidates: list[Candidate], rounds: int
) -> list[dict[str, Any]]:
    """Run all candidates on a corpus, print and return their results."""
    peaks: dict[str, list[float]] = {}
    for number in range(rounds):
        outputs = []
        for candidate in candidates:
            outputs.append(bench.run(corpus, candidate))
            print(f"{corpus}, round {number + 1} of {rounds}: {candidate.name}", file=sys.stderr)
        for precision in {candidate.precision for candidate in candidates}:
            peaks.setdefault(precision, []).append(measured_peak(bench.device, precision))
    alone = [candidate for candidate in candidates if candidate.command == ["loop"]]
    baseline = max(alone, key=lambda candidate: candidate.median("steady"))
    flop = flop_per_audio_second(bench.encoder)
    # As it is, SpeechBrain computes in TF32 on a GPU.
    exact = Candidate("exact", ["loop", "--exact"], 1, baseline.threads)
    reference = bench.run(corpus, exact)
    for candidate in [*candidates, exact]:
        candidate.end()
    results = []
    for candidate, output in zip(candidates, outputs, strict=True):
        peak = statistics.median(peaks[candidate.precision])
        results.append(
            {
                "name": candidate.name,
                "precision": candidate.precision,
                "n_jobs": candidate.n_jobs,
                "threads": candidate.threads,
                "is_baseline": candidate is baseline,
                "ratio_steady": candidate.ratio("steady", baseline),
                "ratio_whole": candidate.ratio("whole", baseline),
                "times_real_time": candidate.median("steady"),
                "utterances_per_second": candidate.median("utterances"),
                "share_of_peak": candidate.median("steady") * flop / peak,
                "startup_seconds": candidate.median("startup_seconds"),
                "peak_bytes": candidate.median("peak_bytes"),
                "gpu_peak_bytes": candidate.median("gpu_peak_bytes"),
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
    candidates = stage_candidates(bench.device, cores, repeats)
    for candidate in candidates:
        for _ in range(rounds):
            bench.run(corpus, candidate)
        candidate.end()
    results = []
    for candidate in candidates:
        result = {
            "corpus": corpus,
            "stage": candidate.name,
            "precision": candidate.precision,
            "n_jobs": candidate.n_jobs,
            "times_real_time": candidate.median("steady"),
            "utterances_per_second": candidate.median("utterances"),
        }
        results.append(result)
        print(
            f"{corpus}: {candidate.name} alone, {candidate.precision}, {candidate.n_jobs} "
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
        "--only", default="", help="candidates whose names, with the precision, match"
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
                candidates = cpu_candidates(cores)
            else:
                candidates = gpu_candidates(cores, arguments.repeats)
            candidates = [one for one in candidates if re.search(arguments.only, one.title)]
            seconds = lengths[corpus]
            bench.make_corpus(corpus, seconds)
            print(f"{corpus}: {len(seconds)} utterances, {sum(seconds):.0f} s")
            results[corpus] = compete(bench, corpus, candidates, arguments.rounds)
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
