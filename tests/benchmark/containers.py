"""Speed of audio in tars against the same audio as files, in steps and in whole runs.

``python -m tests.benchmark.containers FOLDER --members 200000 --tars 200``

Recordings are decoded cold, from the disk, and warm, from memory; files are only forgotten where
this process may ask the kernel to (root outside a container).
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from tests.support.corpora import add
from xvectors.audio.reading import read_signal
from xvectors.audio.resampling import Normalizer
from xvectors.corpora.make_manifest import make_manifest
from xvectors.manifest.reading import read_manifest
from xvectors.sharding.index_shards import hash_audio

RATE = 16000
SECONDS = 1
READERS = 2
REPOSITORY = Path(__file__).resolve().parents[2]
KINDS = ("files", "tars")
# Recordings that differ; more would only take longer to make.
N_RECORDINGS = 100


def recordings() -> list[bytes]:
    """Return FLAC files of noise."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(N_RECORDINGS):
        file = io.BytesIO()
        soundfile.write(file, generator.normal(0, 0.001, SECONDS * RATE), RATE, format="FLAC")
        made.append(file.getvalue())
    return made


def make_corpora(folder: Path, n_members: int, n_tars: int) -> None:
    """Write the same recordings into tars and into files, in folders of a tar's members."""
    made = recordings()
    for number in range(n_tars):
        (folder / "files" / f"{number:04d}").mkdir(parents=True)
        (folder / "tars").mkdir(exist_ok=True)
        with tarfile.open(folder / "tars" / f"{number:04d}.tar", "w") as tar:
            for i in range(number, n_members, n_tars):
                content = made[i % N_RECORDINGS]
                add(tar, f"{i:08d}.flac", content)
                (folder / "files" / f"{number:04d}" / f"{i:08d}.flac").write_bytes(content)


def processor_seconds() -> float:
    """Return the processor time of this process and of the processes that it has waited for."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


@contextmanager
def timed(step: str, n_utterances: int) -> Iterator[None]:
    """Print how long a step takes."""
    began, used = time.perf_counter(), processor_seconds()
    yield
    wall, processor = time.perf_counter() - began, processor_seconds() - used
    each = 1e6 * processor / n_utterances
    print(
        f"{step}: {wall:.2f} s, {n_utterances / wall:.0f} per second; {processor:.2f} s of "
        f"processors, {each:.0f} us each",
        flush=True,
    )


def forget() -> None:
    """Drop all files, and what is known of their names, from memory."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def list_corpora(folder: Path, n_members: int) -> None:
    """Write the manifests of both corpora."""
    corpora = {
        "files": {"kind": "folder", "path": str(folder / "files"), "pattern": "{speaker}/*.flac"},
        "tars": {"kind": "webdataset", "path": str(folder / "tars")},
    }
    for kind in KINDS:
        with timed(f"{kind}: list", n_members):
            make_manifest(corpora[kind], folder / f"{kind}.tsv")


def decode(folder: Path, n_read: int) -> None:
    """Decode the first recordings of each corpus, cold and warm."""
    normalizer = Normalizer(RATE)
    read: Callable[[str], object] = lambda path: read_signal(path, normalizer)  # noqa: E731
    for kind in KINDS:
        utterances = read_manifest(folder / f"{kind}.tsv").utterances
        paths = [utterance.wav_path for utterance in utterances][:n_read]
        forget()
        for state in ("cold", "warm"):
            with (
                timed(f"{kind}: decode, {state}", len(paths)),
                ThreadPoolExecutor(READERS) as readers,
            ):
                list(readers.map(read, paths, chunksize=20))


def compare_versions(folder: Path, n_members: int) -> None:
    """Look at all audio, as a run with nothing to do, and count the looks."""
    stat = os.stat
    for kind in KINDS:
        manifest = folder / f"{kind}.tsv"
        paths = [utterance.wav_path for utterance in read_manifest(manifest).utterances]
        with timed(f"{kind}: compare the versions of all audio", n_members):
            hash_audio(manifest, paths)
        looks = 0

        def count(path: str) -> os.stat_result:
            nonlocal looks
            looks += 1
            return stat(path)

        os.stat = count  # type: ignore[assignment]
        hash_audio(manifest, paths)
        os.stat = stat
        print(f"{kind}: {looks} looks at files", flush=True)


def run_workflow(folder: Path, n_members: int, n_shards: int) -> None:
    """Embed each corpus with a task without a network, twice."""
    encoder = folder / "encoder"
    encoder.mkdir(exist_ok=True)
    (encoder / "hyperparams.yaml").write_text("null: true\n")
    for kind in KINDS:
        xvector = {
            "pretrained_model": str(encoder),
            "device": "cpu",
            "spk_embed_tag": kind,
            "save_path": str(folder / "out"),
            "n_shards": n_shards,
            "splits": ["train"],
            "manifest_paths": {"train": str(folder / f"{kind}.tsv")},
            "provider": "tests.benchmark.reading_task.ReadingProvider",
            "storage": "packed",
            "speaker_means": False,
            "report": False,
        }
        config = folder / f"{kind}.yaml"
        config.write_text(json.dumps({"xvector": xvector}))
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", str(config)]
        command += ["--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder)]
        path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "scripts")])
        for step in ("split and embed", "run again, with nothing to do"):
            with timed(f"{kind}: {step}", n_members), (folder / f"{kind}.log").open("a") as log:
                subprocess.run(
                    command,
                    env={**os.environ, "PYTHONPATH": path},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    check=True,
                )


def main() -> None:
    """Make the corpora unless they are there, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--members", type=int, default=200_000)
    parser.add_argument("--tars", type=int, default=200)
    parser.add_argument("--read", type=int, default=20_000, help="members that are decoded")
    parser.add_argument("--shards", type=int, default=20)
    steps = {
        "make": lambda: make_corpora(parsed.folder, parsed.members, parsed.tars),
        "list": lambda: list_corpora(parsed.folder, parsed.members),
        "compare": lambda: compare_versions(parsed.folder, parsed.members),
        "decode": lambda: decode(parsed.folder, parsed.read),
        "run": lambda: run_workflow(parsed.folder, parsed.members, parsed.shards),
    }
    parser.add_argument("--steps", nargs="+", choices=steps, default=list(steps))
    parsed = parser.parse_args()
    for step in parsed.steps:
        steps[step]()


if __name__ == "__main__":
    main()
