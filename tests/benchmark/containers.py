"""Speed of reading and listing audio in containers against the same audio as files.

``python -m tests.benchmark.containers FOLDER --members 200000 --tars 200``
"""

import argparse
import io
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from tests.support.corpora import add
from xvectors.audio.containers import parse_member
from xvectors.audio.reading import read_signal
from xvectors.audio.resampling import Normalizer
from xvectors.corpora.make_manifest import make_manifest
from xvectors.manifest.reading import read_manifest
from xvectors.sharding.index_shards import hash_audio

RATE = 16000
SECONDS = 1
READERS = 2
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


@contextmanager
def timed(step: str, n_utterances: int) -> Iterator[None]:
    """Print how long a step takes."""
    began, used = time.perf_counter(), time.process_time()
    yield
    wall, processor = time.perf_counter() - began, time.process_time() - used
    speed = n_utterances / wall
    print(f"{step}: {wall:.2f} s ({processor:.2f} s of processors), {speed:.0f} per second")


def forget(paths: set[str]) -> None:
    """Drop files from the page cache."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measure(folder: Path, kind: str, corpus: dict[str, str], n_read: int) -> None:
    """Measure all steps for a corpus."""
    manifest = folder / f"{kind}.tsv"
    n_all = sum(1 for _ in (folder / "files").glob("*/*"))
    with timed(f"{kind}: list", n_all):
        make_manifest(corpus, manifest)
    utterances = read_manifest(manifest).utterances
    paths = [utterance.wav_path for utterance in utterances]
    with timed(f"{kind}: compare the versions of all audio, as a run with nothing to do", n_all):
        hash_audio(manifest, paths)
    normalizer = Normalizer(RATE)
    read: Callable[[str], object] = lambda path: read_signal(path, normalizer)  # noqa: E731
    some = paths[:n_read]
    containers = {member.container if (member := parse_member(one)) else one for one in some}
    forget(containers)
    for state in ("cold", "warm"):
        with timed(f"{kind}: decode, {state}", n_read), ThreadPoolExecutor(READERS) as readers:
            list(readers.map(read, some, chunksize=20))


def main() -> None:
    """Make the corpora unless they are there, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--members", type=int, default=200_000)
    parser.add_argument("--tars", type=int, default=200)
    parser.add_argument("--read", type=int, default=20_000, help="members that are decoded")
    parsed = parser.parse_args()
    folder = parsed.folder
    if not folder.exists():
        make_corpora(folder, parsed.members, parsed.tars)
    files = {"kind": "folder", "path": str(folder / "files"), "pattern": "{speaker}/*.flac"}
    measure(folder, "files", files, parsed.read)
    tars = {"kind": "webdataset", "path": str(folder / "tars")}
    measure(folder, "tars", tars, parsed.read)


if __name__ == "__main__":
    main()
