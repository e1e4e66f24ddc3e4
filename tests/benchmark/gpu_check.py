"""What only a GPU shows, a line of PASS or FAIL each, in less than ten minutes on one H200.

On a CPU (``--device cpu``) the parts run that do not need a GPU, with few short utterances, which
keeps this script in order.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import soundfile
import torch
from candidate import load_speechbrain  # beside this script, as is corpus
from corpus import (
    REPOSITORY,
    demo_speech,
    librittslike_lengths,
    make_full_size_encoder,
    write_manifests,
    write_speech,
)
from speechbrain.dataio.preprocess import AudioNormalizer
from torchaudio.functional import resample

from xvectors.audio.signal import Signal
from xvectors.encoders.device import float32_products
from xvectors.encoders.encoder import Encoder, load_encoder

sys.path.insert(0, str(REPOSITORY))

from tests.support import toolkit_models

# Largest difference to SpeechBrain alone, relative to the largest element.
TOLERANCES = {"fp32": 2e-5, "tf32": 3e-3, "bf16": 3e-2}
SECONDS = (0.05, 0.3, 0.7, 1, 2.5, 5, 10, 20, 59.9, 60.1, 90, 300, 599, 601, 700)
KINDS = ((16000, 1), (24000, 1), (48000, 2))
# A new batch's shape may cost so much more than one that was there before.
MAX_COST_OF_SHAPES = 1.25
MAX_KEPT_BYTES = 2**28
# Bytes of a GPU that is nearly full, with an encoder of full size.
LITTLE_MEMORY = 2.5e9
JOB_SECONDS = 150
# Of the slowest of reading, the network and writing alone.
MIN_SHARE = 0.8


class Job(NamedTuple):
    """A shard's job, and the folder that it writes to."""

    process: subprocess.Popen[str]
    output: Path

    def account(self) -> dict[str, Any]:
        """Wait for its end, and return what it tells; no utterances if it failed."""
        printed, _ = self.process.communicate(timeout=JOB_SECONDS)
        if self.process.returncode != 0:
            return {"n_utterances": -1, "wall_seconds": 1.0}
        account: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return account

    def vectors(self) -> list[Path]:
        """Return the files of its embeddings, in order."""
        return sorted(self.output.rglob("*.pt"))


class Checks:
    """The checks on a device, and which of them failed."""

    def __init__(self, device: str, folder: Path) -> None:
        self.device, self.folder = device, folder
        self.encoder = folder / "encoder"
        self.is_gpu = device != "cpu"
        self.failed: list[str] = []

    def check(self, name: str, ok: bool, *told: object) -> None:
        """Print and note what came of a check."""
        print("PASS" if ok else "FAIL", name, *told, flush=True)
        if not ok:
            self.failed.append(name)

    def load(self, precision: str = "fp32") -> Encoder:
        return load_encoder("speechbrain", self.encoder, self.device, precision)

    def start(
        self,
        name: str,
        manifest: str,
        precision: str = "bf16",
        *,
        device: str = "",
        batch_size: int = 20,
        threads: int = 16,
        **environment: str,
    ) -> Job:
        """Start a shard's job on ``<manifest>/part0.tsv``."""
        command = [sys.executable, str(Path(__file__).with_name("candidate.py")), "xvectors"]
        options = {
            "manifest": self.folder / manifest / "part0.tsv",
            "encoder": self.encoder,
            "device": device or self.device,
            "precision": precision,
            "threads": threads if self.is_gpu else 1,
            "batch-size": batch_size,
        }
        for option, value in options.items():
            command += [f"--{option}", str(value)]
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        output = self.folder / "jobs" / name
        assert process.stdin is not None
        process.stdin.write(f"{output}\n")
        process.stdin.flush()
        return Job(process, output)

    def exactness(self) -> None:
        """Compare embeddings of every length, rate and precision with SpeechBrain alone."""
        seconds = SECONDS if self.is_gpu else SECONDS[:5]
        paths = write_mixed(self.folder / "wav", seconds)
        write_manifests(self.folder / "mixed", paths, 1)
        expected = embed_alone(self.encoder, paths, self.device)
        center = expected.mean(0)
        for precision, tolerance in TOLERANCES.items() if self.is_gpu else [("fp32", 2e-5)]:
            encoder = self.load(precision)
            signals = [encoder.read(str(path)) for path in paths]
            found = {
                "together": encoder.embed(signals),
                "one by one": torch.cat([encoder.embed([one]) for one in signals]),
            }
            for name, embeddings in found.items():
                error = largest_error(embeddings, expected)
                cosine = smallest_cosine(embeddings, expected)
                centered = smallest_cosine(embeddings - center, expected - center)
                ok = error < tolerance and cosine > 0.9999 and centered > 0.998
                self.check(f"{precision} {name}", ok, f"{error:.1e} {cosine:.6f} {centered:.5f}")
        job = self.start("mixed", "mixed", "fp32")
        n_embedded = job.account()["n_utterances"]
        found = [torch.load(path) for path in job.vectors()]
        ok = n_embedded == len(paths) == len(found)
        self.check("a job's vectors", ok and largest_error(torch.stack(found), expected) < 2e-5)

    def waiting(self) -> None:
        """Look for hidden waits, and for what batches of new shapes cost in time and memory."""
        encoder = self.load("tf32")
        noise = torch.randn(200 * 22000, device=self.device)

        def batch(k: int) -> list[Signal]:
            # As much work for each k, in another shape.
            n, shorter = 100 + k % 100, 240 * (k // 100)
            starts = range(0, 22000 * n, 22000)
            return [
                Signal(noise[start:][: 2150400 // n - shorter - 9 * i], 24000)
                for i, start in enumerate(starts)
            ]

        first = encoder.embed(batch(28))
        on_cpu = [one._replace(samples=one.samples.cpu()) for one in batch(28)]
        torch.cuda.set_sync_debug_mode("error")
        try:
            encoder.embed(batch(28))
            error = largest_error(encoder.embed(on_cpu), first)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        self.check("no hidden waiting", error < 1e-6, f"{error:.1e}")
        with ThreadPoolExecutor(4) as threads:
            errors = [
                largest_error(one, first) for one in threads.map(encoder.embed, [batch(28)] * 40)
            ]
        self.check("threads change nothing", max(errors) < 1e-6, f"{max(errors):.1e}")

        encoder = self.load("bf16")
        encoder.embed(batch(28))
        same = seconds_of(lambda: [encoder.embed(batch(28)) for _ in range(100)])
        before = free_bytes()
        new = seconds_of(lambda: [encoder.embed(batch(k)) for k in range(100)])
        told = f"{10 * same:.1f} ms a batch, of a new shape {10 * new:.1f}"
        self.check("new shapes cost little", new < MAX_COST_OF_SHAPES * same, told)
        for k in range(100, 400):
            encoder.embed(batch(k))
        kept = before - free_bytes()
        self.check("new shapes keep no memory", kept < MAX_KEPT_BYTES, kept >> 20, "MiB")

    def toolkits(self) -> None:
        """Compare the GPU's embeddings of the other toolkits with the CPU's."""
        places = {
            name: ("espnet", toolkit_models.make_espnet_encoder(self.folder / name, name))
            for name in toolkit_models.ESPNET_MODELS
        }
        places["RawNet3"] = (
            "rawnet",
            toolkit_models.make_rawnet_checkpoint(self.folder / "model.pt"),
        )
        for name, (toolkit, place) in places.items():
            cpu, gpu = (load_encoder(toolkit, place, one, "fp32") for one in ("cpu", self.device))
            signals = toolkit_models.speech([16000, cpu.min_samples, 8000, 16000, 48005, 400000])
            error = largest_error(gpu.embed(signals), cpu.embed(signals))
            same_shortest = cpu.min_samples == gpu.min_samples
            self.check(f"{toolkit} {name}", error < 1e-4 and same_shortest, f"{error:.1e}")

    def jobs(self) -> None:
        """Run whole jobs: their speed, two on one GPU, one by the GPU's UUID."""
        n, repeats = (300, 40) if self.is_gpu else (4, 1)
        lengths = {"long": librittslike_lengths(n), "short": numpy.full(n, 0.7)}
        for name, seconds in lengths.items():
            paths = write_speech(self.folder / f"{name}-wav", seconds)
            write_manifests(self.folder / name, paths, 1, repeats)
        if not self.is_gpu:
            account = self.start("short", "short", "fp32").account()
            self.check("short fp32", account["n_utterances"] == n, rate(account))
            return
        rates = {}
        for manifest, precision, batch_size in (
            ("long", "fp32", 20),
            ("long", "bf16", 20),
            ("long", "bf16", 128),
            ("short", "bf16", 20),
            ("short", "bf16", 128),
        ):
            name = f"{manifest} {precision} {batch_size}"
            account = self.start(name, manifest, precision, batch_size=batch_size).account()
            rates[name] = rate(account)
            ok = account["n_utterances"] == n * repeats
            self.check(name, ok, rates[name], "utterances/s")
        default, large = rates["long bf16 20"], rates["long bf16 128"]
        self.check("batch_size 20 is as fast as 128", default > 0.95 * large, default / large)
        self._share_of_slowest(default)
        self._long_recordings()
        limited = self.start("limited", "long", OMP_THREAD_LIMIT="1").account()
        self.check("OMP_THREAD_LIMIT=1", limited["n_utterances"] == n * repeats, rate(limited))
        # Each has a folder of leases of its own, so that neither waits for the other.
        folders = [Path(tempfile.mkdtemp(dir=self.folder)) for _ in range(2)]
        two = [self.start(one.name, "long", threads=8, TMPDIR=str(one)) for one in folders]
        together = sum(rate(job.account()) for job in two)
        self.check("two jobs on a GPU", together > 0.9 * default, together, "utterances/s")
        query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
        uuid = subprocess.check_output(query, text=True).split()[0]
        job = self.start("uuid", "mixed", device="cuda:0", CUDA_VISIBLE_DEVICES=uuid)
        n_mixed = len(SECONDS) * len(KINDS)
        self.check("a GPU by its UUID", job.account()["n_utterances"] == n_mixed)

    def _long_recordings(self) -> None:
        """Run a job with recordings beyond ten minutes among short ones."""
        speech = numpy.tile(demo_speech(), 5)
        folder = self.folder / "hours-wav"
        folder.mkdir()
        paths = []
        for i, minutes in enumerate([*[11] * 8, *[20] * 4, 70]):
            paths.append(folder / f"{i:02}.wav")
            samples = numpy.resize(speech[1000 * i :], minutes * 60 * 24000)
            soundfile.write(paths[-1], samples, 24000, subtype="PCM_16")
        paths += sorted((self.folder / "long-wav").glob("*.wav"))
        write_manifests(self.folder / "hours", paths, 1)
        account = self.start("hours", "hours").account()
        ok = account["n_utterances"] == len(paths)
        told = f"{account.get('audio_seconds', 0) / account['wall_seconds']:.0f} times real time"
        self.check("long recordings", ok, told)

    def _share_of_slowest(self, whole: float) -> None:
        """Compare a job's speed with that of reading, the network and writing alone."""
        rates = {}
        for stage, n_processes in (("read", 15), ("embed", 1), ("write", 15)):
            command = [sys.executable, str(Path(__file__).with_name("candidate.py")), "stage"]
            command += ["--stage", stage, "--encoder", str(self.encoder), "--precision", "bf16"]
            command += ["--manifest", str(self.folder / "long" / "part0.tsv")]
            command += ["--device", self.device, "--batch-size", "128"]
            output = self.folder / "stages" / stage
            output.mkdir(parents=True)
            run = subprocess.run(
                command, input=f"{output}\n", capture_output=True, text=True, check=True
            )
            account = json.loads(run.stdout.splitlines()[-1])
            rates[stage] = rate(account) * n_processes
        slowest = min(rates, key=lambda stage: rates[stage])
        told = ", ".join(f"{stage} {value:.0f}" for stage, value in rates.items())
        share = whole / rates[slowest]
        self.check(f"share of the slowest, {slowest}", share > MIN_SHARE, f"{share:.2f} ({told})")

    def kills(self) -> None:
        """Kill a process that reads, and a job: it ends soon, and what was done is kept."""
        for victim in ("reader", "job"):
            job = self.start(f"kill-{victim}", "long")
            while job.process.poll() is None and not job.vectors():
                time.sleep(0.05)
            pid = job.process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            readers = [int(one) for one in children]
            os.kill(readers[-1] if victim == "reader" else pid, signal.SIGKILL)
            took = seconds_of(lambda: job.process.wait(60))  # noqa: B023 - called at once
            time.sleep(2)
            kept = len(job.vectors())
            gone = not any(Path(f"/proc/{one}/exe").exists() for one in readers)
            again = self.start(f"kill-{victim}", "long").account()
            ok = job.process.returncode != 0 and took < 10 and gone
            ok = ok and again["n_utterances"] == 12000 - kept
            self.check(f"killing a {victim}", ok, f"{took:.1f} s, {kept} kept")

    def memory(self) -> None:
        """Embed with little memory: in smaller batches, and a long recording in pieces."""
        encoder = self.load()
        samples = torch.from_numpy(numpy.tile(demo_speech(), 5))
        ten = [samples[16000 * i :][:160000] for i in range(60)]
        long = samples[: 500 * 16000]
        expected, whole = encoder.embed(ten), encoder.embed([long])
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(LITTLE_MEMORY / torch.cuda.mem_get_info()[1])
        error = largest_error(encoder.embed(ten), expected)
        self.check("smaller batches", error < 2e-5, f"{error:.1e}, limit {encoder.budget.limit}")
        error = largest_error(encoder.embed([long]), whole)
        told = f"{error:.1e}, {encoder.chunking.n_own} frames"
        self.check("in pieces", error < 2e-5, told)
        encoder.budget.limit = 0
        error = max(largest_error(encoder.embed(ten), expected) for _ in range(10))
        grown = encoder.budget.limit
        self.check("a budget from nothing", error < 2e-5 and grown > 0, f"{error:.1e}, {grown}")

    def run(self) -> None:
        """Run every part; an error in one fails it and goes on with the next."""
        parts: list[Callable[[], None]] = [self.exactness, self.jobs]
        if self.is_gpu:
            parts = [
                self.exactness,
                self.waiting,
                self.toolkits,
                self.jobs,
                self.kills,
                self.memory,
            ]
        for part in parts:
            try:
                print(f"-- {part.__name__}: {seconds_of(part):.0f} s", flush=True)
            except Exception:
                traceback.print_exc()
                self.check(part.__name__, False)


def write_mixed(folder: Path, seconds: Sequence[float]) -> list[Path]:
    """Write recordings of all lengths in seconds at several rates, and return their files."""
    samples = numpy.tile(demo_speech(), 5)
    folder.mkdir()
    paths = []
    for rate_, channels in KINDS:
        for length in seconds:
            start = 7000 * len(paths)
            part = samples[start : start + round(length * 24000)].copy()
            mono = resample(torch.from_numpy(part), 24000, rate_).numpy()
            stereo = numpy.stack([mono, mono[::-1] / 2], 1)
            paths.append(folder / f"u{len(paths):02d}.wav")
            soundfile.write(paths[-1], stereo[:, :channels], rate_)
    return paths


def embed_alone(encoder: Path, paths: Sequence[Path], device: str) -> torch.Tensor:
    """Return SpeechBrain's own embeddings, one file at a time, without TF32, (files, dim)."""
    speechbrain = load_speechbrain(encoder, device)
    found = []
    with float32_products():
        for path in paths:
            samples, rate_ = soundfile.read(path, dtype="float32", always_2d=True)
            mono = AudioNormalizer()(torch.from_numpy(samples), rate_)
            found.append(speechbrain.encode_batch(mono.to(device)).flatten().cpu())
    return torch.stack(found)


def largest_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest element of each."""
    return float(((found - expected).abs().amax(1) / expected.abs().amax(1)).max())


def smallest_cosine(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(found, expected).min())


def seconds_of(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def rate(account: dict[str, Any]) -> float:
    """Return the utterances per second of a job, without its start."""
    return float(account["n_utterances"] / account["wall_seconds"])


def free_bytes() -> int:
    """Return the free memory of the GPU, with what PyTorch keeps for later."""
    return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved())


def main() -> None:
    """Run the checks, and end with status 1 if one failed."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    device = parser.parse_args().device
    if device != "cpu" and not torch.cuda.is_available():
        sys.exit("error: PyTorch finds no GPU here")
    folder = Path(tempfile.mkdtemp(prefix="gpu-check-"))
    try:
        checks = Checks(device, folder)
        make_full_size_encoder(checks.encoder)
        checks.run()
    finally:
        shutil.rmtree(folder)
    sys.exit(f"failed: {', '.join(checks.failed)}" if checks.failed else 0)


if __name__ == "__main__":
    main()
