"""Where faults happen: a small corpus that was embedded undisturbed, and what became of it."""

import copy
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from tests.support.checkout import Checkout
from tests.support.containers import pack_manifest
from xvectors.errors import ShardError
from xvectors.storage.journal import list_journals, read_journal
from xvectors.storage.packs import list_packs, read_pack

from .fork_server import ForkServer, Job

SUFFIXES = (".pt", ".safetensors")
SHARDS = ("0-of-2", "1-of-2")
# Companions in a batch change the order in which floats are added, no more.
TOLERANCE = 1e-5


class FaultError(AssertionError):
    """What a fault must not do: a vector lost or wrong, a message unclear, a run that hangs."""


class Harness:
    """A checkout of 24 utterances in two shards, and the vectors that belong to it.

    Where embeddings are packed, the audio lies in containers.
    """

    def __init__(
        self, root: Path, fork_server: ForkServer, seed: int, storage: str = "files"
    ) -> None:
        """Embed the corpus without any disturbance."""
        self.fork_server = fork_server
        self.random = random.Random(seed)
        self.checkout = Checkout(root)
        self.root = root
        self.checkout.xvector["storage"] = storage
        if storage == "packed":
            pack_manifest(self.checkout.manifest, ["tar", "ark", "parquet"])
        with self.checkout.manifest.open("a", encoding="utf-8") as file:
            for line in self.checkout.manifest.read_text(encoding="utf-8").splitlines():
                utt_id, wav_path, *rest = line.split("\t")
                for start, end in ((0.1, 1.0), (0.4, 1.3)):
                    times = (f"{end - start}", f"start={start}", f"end={end}")
                    file.write("\t".join((f"{utt_id}-{start}", wav_path, *rest, *times)) + "\n")
        began = time.monotonic()
        self.checkout.run_well()
        # How long it takes undisturbed; faults come at some moment of that.
        self.run_seconds = time.monotonic() - began
        self.expected = self.vectors()
        assert len(self.expected) == 24
        self.forget()
        began = time.monotonic()
        self.finish_jobs()
        self.job_seconds = (time.monotonic() - began) / len(SHARDS)

    def copied(self, root: Path, seed: int) -> "Harness":
        """Return a copy of this harness, in another folder."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        harness = copy.copy(self)
        harness.random = random.Random(seed)
        harness.root = root
        harness.checkout = copy.deepcopy(self.checkout)
        harness.checkout.root, harness.checkout.corpus = root, root / "corpus"
        harness.checkout.manifest = harness.checkout.corpus / "train.tsv"
        return harness

    @property
    def out(self) -> Path:
        """The folder that holds all outputs of all encoders, a mount point for small disks."""
        return self.root / "out"

    @property
    def bookkeeping(self) -> Path:
        """The folder of index shards and done-markers."""
        return self.checkout.out / ".shards" / "train"

    def forget(self) -> None:
        """Give a run something to do: no markers, and the embeddings of some utterances gone."""
        for marker in self.bookkeeping.glob("*.done"):
            marker.unlink()
        files = [path for path in self.checkout.embeddings.iterdir() if path.suffix in SUFFIXES]
        for path in self.random.sample(files, self.random.randint(0, len(files))):
            path.unlink()
        # Something there always is.
        for path in files[:4]:
            path.unlink(missing_ok=True)

    def vectors(self) -> dict[str, torch.Tensor]:
        """Return every embedding that counts as one, by utterance.

        Raises:
            FaultError: An embedding's file is cut off.

        """
        while True:
            # A job that outlives its run moves on while we read.
            with suppress(FileNotFoundError, ShardError):
                return self._vectors()

    def _vectors(self) -> dict[str, torch.Tensor]:
        folder = self.checkout.embeddings
        sources = [read_pack(path) for path in list_packs(folder)]
        sources += [read_journal(path) for path in list_journals(folder)]
        rows = {utt_id: row for source in sources for utt_id, row in source}
        vectors = {utt_id: torch.from_numpy(row.read().copy()) for utt_id, row in rows.items()}
        for path in folder.glob("*.pt"):
            try:
                vectors[path.stem] = torch.load(path, weights_only=True)
            except FileNotFoundError:
                raise
            except Exception as error:
                raise FaultError(f"cut off: {path.name}: {error}") from error
        return vectors

    def job(self, shard: str, **faults: object) -> Job:
        """Return a shard's job; what it prints comes into a new file."""
        shutil.rmtree(self.root / "printed", ignore_errors=True)
        (self.root / "printed").mkdir()
        (self.root / "printed").chmod(0o777)
        # Relative, as the folders above are not for everybody.
        output = f"printed/{shard}"
        return Job(str(self.root), self.checkout.xvector, shard, output, **faults)

    def run_job(self, shard: str, **faults: object) -> tuple[int, str]:
        """Run a shard's job; return its exit status and what it printed."""
        job = self.job(shard, **faults)
        status = self.fork_server.wait(self.fork_server.start(job))
        return status, (self.root / job.output).read_text(encoding="utf-8", errors="replace")

    def check_vectors(self, printed: str = "") -> int:
        """Check that each vector that is there is whole and right, and return their number."""
        vectors = self.vectors()
        for utt_id, vector in vectors.items():
            expected = self.expected[utt_id]
            if vector.shape != expected.shape or vector.dtype != expected.dtype:
                raise FaultError(f"wrong: {utt_id} is {vector.dtype} {vector.shape}\n{printed}")
            difference = (vector - expected).abs().max() / expected.abs().max()
            if not difference <= TOLERANCE:
                raise FaultError(f"wrong: {utt_id} is off by {difference:.3g}\n{printed}")
        return len(vectors)

    def check_message(self, status: int, printed: str, *expected: str) -> None:
        """Check that a fault ended in a clear line: one that starts with error:, no traceback."""
        if status == 0:
            raise FaultError(f"the fault went unnoticed\n{printed}")
        if "Traceback" in printed:
            raise FaultError(f"a traceback\n{printed}")
        lines = [line for line in printed.splitlines() if line.startswith("error: ")]
        if not lines or not any(word in line for word in expected or ("",) for line in lines):
            raise FaultError(f"no clear message\n{printed}")

    def finish_jobs(self) -> None:
        """Run both shards' jobs undisturbed; every vector must then be there and right."""
        for shard in SHARDS:
            status, printed = self.run_job(shard)
            if status != 0 or not (self.bookkeeping / f"{shard}.done").is_file():
                raise FaultError(f"an undisturbed job failed\n{printed}")
        self.check_complete()

    def finish(self) -> str:
        """Run the user's command; every vector must then be there, right, and listed."""
        result = self.checkout.run()
        if result.returncode != 0:
            raise FaultError(f"the same command again does not complete\n{result.stdout}")
        self.check_complete(result.stdout)
        rows = self.checkout.rows("train.tsv")
        if [row[0] for row in rows[1:]] != self.utt_ids():
            raise FaultError(f"the table does not list the manifest\n{result.stdout}")
        leftovers = [path for path in self.checkout.out.rglob("*") if path.name.endswith(".tmp")]
        if leftovers:
            raise FaultError(f"leftovers: {leftovers}\n{result.stdout}")
        return result.stdout

    def check_complete(self, printed: str = "") -> None:
        """Check that every vector is there and right."""
        if self.check_vectors(printed) != len(self.expected):
            lost = set(self.expected) - set(self.vectors())
            raise FaultError(f"lost: {', '.join(sorted(lost))}\n{printed}")

    def recordings(self) -> list[Path]:
        """Return the files of audio, or the containers in which it lies."""
        return [path for path in self.checkout.corpus.iterdir() if path.suffix != ".tsv"]

    def utt_ids(self) -> list[str]:
        """Return the manifest's utterances."""
        lines = self.checkout.manifest.read_text(encoding="utf-8").splitlines()
        return [line.split("\t")[0] for line in lines]

    @contextmanager
    def small_disk(self, pages: int) -> Iterator["Disk"]:
        """Put the outputs onto a disk with room for `pages` more pages of 4 KiB, for a while."""
        kept = self.root / "kept"
        self.out.rename(kept)
        self.out.mkdir()
        mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(self.out))
        try:
            shutil.copytree(kept, self.out, dirs_exist_ok=True)
            disk = Disk(self.out)
            disk.leave(pages)
            yield disk
            shutil.rmtree(kept)
            shutil.copytree(self.out, kept)
        finally:
            subprocess.run(["umount", "--lazy", str(self.out)], check=True)
            self.out.rmdir()
            kept.rename(self.out)


class Disk:
    """A small disk in memory."""

    def __init__(self, mount_point: Path) -> None:
        self.mount_point = mount_point

    def leave(self, pages: int) -> None:
        """Change its size so that `pages` of 4 KiB are free."""
        status = os.statvfs(self.mount_point)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        self.remount(f"size={used + pages * 4096}")

    def remount(self, option: str) -> None:
        """Change how it is mounted."""
        mount("-o", f"remount,{option}", str(self.mount_point))


def mount(*arguments: str) -> None:
    """Mount something."""
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
