"""A process of a candidate: embeds the utterances of a manifest as often as it is told to.

Of every line of its standard input it takes the folder to write to, and for each it prints a line
of JSON: seconds of starting up (of the process) and of working, audio seconds, peak memory.
"""

import time

STARTED = time.monotonic()

import argparse  # noqa: E402 - the clock comes first
import json  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable  # noqa: E402
from dataclasses import asdict, dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import soundfile  # noqa: E402
import torch  # noqa: E402
from peak_memory import peak_bytes  # noqa: E402 - beside this script
from torch.nn.utils.rnn import pad_sequence  # noqa: E402

BATCH_SIZE = 20
# Signals that the network alone is measured with.
MAX_IN_MEMORY = 1000


@dataclass
class Account:
    """What a job took; `startup_seconds` where it tells that itself."""

    wall_seconds: float
    audio_seconds: float
    n_utterances: int
    startup_seconds: float | None = None
    peak_bytes: int = 0
    gpu_peak_bytes: int = 0


Job = Callable[[Path], Account]


def load_speechbrain(encoder: Path, device: str) -> Any:
    from speechbrain.inference.classifiers import EncoderClassifier  # noqa: PLC0415

    return EncoderClassifier.from_hparams(
        source=str(encoder),
        savedir=None,
        overrides={"pretrained_path": str(encoder)},
        run_opts={"device": "cuda:0" if device == "cuda" else device},
    )


def utterances_of(manifest: Path) -> list[tuple[str, Path]]:
    lines = manifest.read_text(encoding="utf-8").splitlines()
    columns = [line.split("\t") for line in lines]
    return [(utt_id, manifest.parent / path) for utt_id, path, *_ in columns]


def seconds_of(utterances: list[tuple[str, Path]]) -> float:
    return sum(soundfile.info(path).duration for _, path in utterances)


def read(path: Path, normalizer: Any, device: str) -> torch.Tensor:
    samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    return normalizer(torch.from_numpy(samples), sample_rate).to(device)


def prepare_loop(arguments: argparse.Namespace) -> Job:
    """One utterance at a time, as ESPnet3's runner does it, the normalizer made only once."""
    from speechbrain.dataio.preprocess import AudioNormalizer  # noqa: PLC0415

    classifier = load_speechbrain(arguments.encoder, arguments.device)
    if arguments.exact:
        # SpeechBrain switches it on when it is imported.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    normalizer = AudioNormalizer()
    utterances = utterances_of(arguments.manifest)
    audio_seconds = seconds_of(utterances)

    def job(output: Path) -> Account:
        begun = time.monotonic()
        for utt_id, path in utterances:
            embedding = classifier.encode_batch(read(path, normalizer, arguments.device))
            torch.save(embedding.flatten().cpu(), output / f"{utt_id}.pt")
        return Account(time.monotonic() - begun, audio_seconds, len(utterances))

    return job


def prepare_padded(arguments: argparse.Namespace) -> Job:
    """SpeechBrain's own batches: padded, with relative lengths, twenty in manifest order."""
    from speechbrain.dataio.preprocess import AudioNormalizer  # noqa: PLC0415

    classifier = load_speechbrain(arguments.encoder, arguments.device)
    normalizer = AudioNormalizer()
    utterances = utterances_of(arguments.manifest)
    audio_seconds = seconds_of(utterances)

    def job(output: Path) -> Account:
        begun = time.monotonic()
        for start in range(0, len(utterances), BATCH_SIZE):
            batch = utterances[start : start + BATCH_SIZE]
            signals = [read(path, normalizer, arguments.device) for _, path in batch]
            lengths = torch.tensor([len(signal) for signal in signals], device=arguments.device)
            embeddings = classifier.encode_batch(
                pad_sequence(signals, batch_first=True), lengths / lengths.max()
            )
            for (utt_id, _), embedding in zip(batch, embeddings.flatten(1).cpu(), strict=True):
                torch.save(embedding.clone(), output / f"{utt_id}.pt")
        return Account(time.monotonic() - begun, audio_seconds, len(utterances))

    return job


def prepare_xvectors(arguments: argparse.Namespace) -> Job:
    """This project's shard job, as its rule calls it."""
    from xvectors.config.layout import Layout  # noqa: PLC0415
    from xvectors.config.resolving import resolve_config  # noqa: PLC0415
    from xvectors.encoders.fetching import fetch_encoder  # noqa: PLC0415
    from xvectors.job.shard_job import embed_shard  # noqa: PLC0415
    from xvectors.manifest.reading import read_manifest  # noqa: PLC0415
    from xvectors.sharding.markers import read_marker  # noqa: PLC0415
    from xvectors.sharding.splitting import split_manifest  # noqa: PLC0415

    seconds_before = time.monotonic() - STARTED

    def job(output: Path) -> Account:
        settings = job_settings(arguments) | {"save_path": str(output)}
        config = resolve_config({"xvector": settings})
        layout = Layout.of(config)
        fetch_encoder(str(arguments.encoder), layout.encoder_description)
        split_manifest(read_manifest(arguments.manifest), "part", 1, layout)
        started = time.monotonic() - seconds_before
        embed_shard(config, "part", "0-of-1", started, arguments.threads)
        marker = read_marker(layout.marker("part", "0-of-1"))
        return Account(
            marker.wall_seconds, marker.audio_seconds, marker.n_written, marker.startup_seconds
        )

    return job


def job_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "pretrained_model": str(arguments.encoder),
        "device": arguments.device,
        "precision": arguments.precision,
        "batch_size": arguments.batch_size,
        "spk_embed_tag": "tag",
        "manifest_paths": {"part": str(arguments.manifest)},
        "splits": ["part"],
    }


def prepare_stage(arguments: argparse.Namespace) -> Job:
    """One of this project's three pipeline alone, on all utterances."""
    from xvectors import XVectorProvider  # noqa: PLC0415
    from xvectors.tasks.xvectors import storing_pipeline  # noqa: PLC0415

    settings = job_settings(arguments)
    if arguments.stage != "embed":
        settings["device"] = "cpu"
    # It makes its folder, which is another one for each job.
    params = {"manifest_path": str(arguments.manifest), "output_dir": tempfile.gettempdir()}
    env = XVectorProvider({"xvector": settings}, params).build_env_local()
    names = ("model", "utterances", "source")
    # What a job leaves to a GPU.
    env["model"].normalizer.together = arguments.device != "cpu"
    n_utterances = len(env["utterances"])
    audio_seconds = seconds_of(env["utterances"])

    def pipeline(output: Path) -> Any:
        return storing_pipeline(output_dir=output, **{name: env[name] for name in names})

    work = STAGES[arguments.stage](pipeline, n_utterances, arguments)

    def job(output: Path) -> Account:
        begun = time.monotonic()
        work(output)
        return Account(time.monotonic() - begun, audio_seconds, n_utterances)

    return job


def reading(pipeline: Any, n_utterances: int, arguments: argparse.Namespace) -> Any:
    def work(output: Path) -> None:
        here = pipeline(output)
        for index in range(n_utterances):
            here.load(index)

    return work


def embedding(pipeline: Any, n_utterances: int, arguments: argparse.Namespace) -> Any:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    from xvectors.job.encoder_server import N_SUBMITTERS  # noqa: PLC0415

    here = pipeline(Path(tempfile.gettempdir()))
    batches = batches_in_memory(here, n_utterances, arguments)
    n_submitters = 1 if arguments.device == "cpu" else N_SUBMITTERS

    def work(output: Path) -> None:
        with ThreadPoolExecutor(n_submitters) as giving:
            list(giving.map(here.encoder.embed, batches))

    return work


def writing(pipeline: Any, n_utterances: int, arguments: argparse.Namespace) -> Any:
    here = pipeline(Path(tempfile.gettempdir()))
    items = [without_samples(here.load(index)) for index in range(n_utterances)]
    vector = torch.randn(192)

    def work(output: Path) -> None:
        there = pipeline(output)
        for item in items:
            there.store(item, vector)

    return work


def without_samples(item: Any) -> Any:
    return item._replace(loaded=item.loaded._replace(samples=torch.empty(0)))


STAGES = {"read": reading, "embed": embedding, "write": writing}


def batches_in_memory(
    pipeline: Any, n_utterances: int, arguments: argparse.Namespace
) -> list[list[Any]]:
    """Return batches of so many signals in all, on the device, some of them repeatedly."""
    read = [pipeline.load(index).loaded for index in range(min(n_utterances, MAX_IN_MEMORY))]
    signals = [one._replace(samples=one.samples.to(arguments.device)) for one in read]
    signals *= -(-n_utterances // len(signals))
    signals = sorted(signals[:n_utterances], key=lambda one: -len(one.samples))
    size = arguments.batch_size
    return [signals[start : start + size] for start in range(0, n_utterances, size)]


CANDIDATES: dict[str, Callable[[argparse.Namespace], Job]] = {
    "loop": prepare_loop,
    "padded": prepare_padded,
    "xvectors": prepare_xvectors,
    "stage": prepare_stage,
}


def main() -> None:
    """Run the candidate that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("candidate", choices=CANDIDATES)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    parser.add_argument("--stage", choices=STAGES)
    parser.add_argument("--exact", action="store_true", help="no TF32 on GPUs")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    job = CANDIDATES[arguments.candidate](arguments)
    startup_seconds = time.monotonic() - STARTED
    for line in sys.stdin:
        account = job(Path(line.rstrip("\n")))
        account.startup_seconds = account.startup_seconds or startup_seconds
        account.peak_bytes = peak_bytes()
        if arguments.device != "cpu":
            account.gpu_peak_bytes = torch.cuda.max_memory_allocated()
        print(json.dumps(asdict(account)), flush=True)


if __name__ == "__main__":
    main()
