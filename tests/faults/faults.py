"""Faults: each does one harm to a scene, at a moment and a place that its dice choose.

It checks what may be checked at once: that what is there is whole and right, and that the message
is clear. Whoever injects it then checks that the same command completes.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from .nursery import NOBODY
from .scene import SHARDS, FaultError, Scene, mount

# Not everybody has such folders on PATH, nor every container the program.
MKFS = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")

MIB = 2**20
# Files of embeddings, each one's or packs.
EMBEDDINGS = "train/*[0-9].[ps]*t*"


class Fault(NamedTuple):
    """A kind of fault: how to inject it, returning whether it struck, and how a run completes."""

    inject: Callable[[Scene], bool]
    by_snakemake: bool
    needs_root: bool = False


def killed_job(number: signal.Signals) -> Callable[[Scene], bool]:
    """Return a fault: a job gets a signal at some moment."""

    def inject(scene: Scene) -> bool:
        scene.forget()
        process_id = scene.nursery.start(scene.job(scene.random.choice(SHARDS)))
        time.sleep(scene.random.uniform(0, scene.job_seconds))
        os.kill(process_id, number)
        struck = scene.nursery.wait(process_id) == -number
        scene.check_vectors()
        return struck

    return inject


def full_disk(scene: Scene) -> bool:
    """Let the disk fill up after some embeddings."""
    scene.forget()
    with scene.small_disk(scene.random.randint(0, 12)):
        status, printed = scene.run_job(scene.random.choice(SHARDS))
        scene.check_vectors(printed)
        if status != 0:
            scene.check_message(status, printed, "No space left on device")
    return status != 0


def read_only(scene: Scene) -> bool:
    """Let the outputs be read-only."""
    scene.forget()
    with scene.small_disk(1000) as disk:
        disk.remount("ro")
        status, printed = scene.run_job(scene.random.choice(SHARDS))
        disk.remount("rw")
    if status != 0:
        scene.check_message(status, printed, "Read-only file system")
    scene.check_vectors(printed)
    return status != 0


def no_permission(scene: Scene) -> bool:
    """Let another user run the job."""
    scene.forget()
    status, printed = scene.run_job(scene.random.choice(SHARDS), user=NOBODY)
    scene.check_message(status, printed, "Permission denied")
    scene.check_vectors(printed)
    return True


def few_handles(scene: Scene) -> bool:
    """Let a job have next to no file handles."""
    scene.forget()
    limits = {"RLIMIT_NOFILE": scene.random.randint(3, 11)}
    status, printed = scene.run_job(scene.random.choice(SHARDS), limits=limits)
    if status != 0:
        scene.check_message(status, printed, "Too many open files")
    scene.check_vectors(printed)
    return status != 0


def little_memory(scene: Scene) -> bool:
    """Let a job have little memory."""
    scene.forget()
    limits = {"RLIMIT_AS": scene.random.randint(1500, 3800) * MIB}
    status, printed = scene.run_job(scene.random.choice(SHARDS), limits=limits)
    # C libraries may end the process where they get no memory.
    if status > 0:
        scene.check_message(status, printed)
    scene.check_vectors(printed)
    return status != 0


def two_jobs(scene: Scene) -> bool:
    """Let two jobs embed the same shard at the same time."""
    scene.forget()
    job = scene.job(scene.random.choice(SHARDS))
    process_ids = [scene.nursery.start(job)]
    time.sleep(scene.random.uniform(0, scene.job_seconds / 2))
    process_ids.append(scene.nursery.start(job))
    statuses = [scene.nursery.wait(process_id) for process_id in process_ids]
    printed = (scene.root / job.output).read_text()
    if 0 not in statuses:
        raise FaultError(f"both jobs failed\n{printed}")
    if any(statuses):
        scene.check_message(max(statuses), printed, "as another job has finished this shard")
    scene.check_vectors()
    return True


def replaced_audio(scene: Scene) -> bool:
    """Replace recordings while they are read, by a rename or in place, and then put them back."""
    scene.forget()
    recordings = [path for path in scene.checkout.corpus.iterdir() if path.suffix != ".tsv"]
    contents = {path: path.read_bytes() for path in recordings}
    dice, done = scene.random, threading.Event()

    def replace() -> None:
        while not done.wait(dice.uniform(0, 0.05)):
            path, other = dice.choice(recordings), dice.choice(recordings)
            if dice.random() < 0.5:
                new = path.with_name("new")
                new.write_bytes(contents[other])
                new.replace(path)
            else:
                path.write_bytes(contents[other][: dice.randint(0, len(contents[other]))])

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        status, printed = scene.run_job(scene.random.choice(SHARDS))
    finally:
        done.set()
        thread.join()
    for path, content in contents.items():
        path.write_bytes(content)
    if status != 0:
        scene.check_message(status, printed)
    return True


def damaged_under_job(pattern: str, message: str) -> Callable[[Scene], bool]:
    """Return a fault: a bit flips in a file that a job is about to read, and then back."""

    def inject(scene: Scene) -> bool:
        scene.forget()
        path = scene.random.choice(sorted(scene.checkout.out.glob(pattern)))
        whole = path.read_bytes()
        change(path, scene.random, cut=False)
        status, printed = scene.run_job(SHARDS[0])
        scene.check_message(status, printed, message)
        scene.check_vectors(printed)
        path.write_bytes(whole)
        return True

    return inject


def killed_run(number: signal.Signals, group: bool) -> Callable[[Scene], bool]:
    """Return a fault: Snakemake, or with `group` it and all its jobs, get a signal."""

    def inject(scene: Scene) -> bool:
        scene.forget()
        with scene.checkout.start() as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(scene.random.uniform(0, scene.run_seconds))
            struck = process.poll() is None
            if struck:
                (os.killpg if group else os.kill)(process.pid, number)
            # Its jobs may go on, and hold the pipe.
            process.wait()
        scene.check_vectors()
        return struck

    return inject


def killed_job_of_run(scene: Scene) -> bool:
    """Let a process that Snakemake has started be killed."""
    scene.forget()
    with scene.checkout.start() as process:
        with suppress(subprocess.TimeoutExpired):
            process.wait(scene.random.uniform(2, scene.run_seconds))
        victims = descendants(process.pid)
        if victims:
            with suppress(ProcessLookupError):
                os.kill(scene.random.choice(victims), signal.SIGKILL)
        printed, _ = process.communicate()
    scene.check_vectors(printed)
    if process.returncode != 0 and "not done" not in printed:
        raise FaultError(f"no clear message\n{printed}")
    return process.returncode != 0


def two_runs(scene: Scene) -> bool:
    """Start two runs at about the same time."""
    scene.forget()
    with scene.checkout.start() as first:
        time.sleep(scene.random.choice((0, scene.random.uniform(0, 3))))
        with scene.checkout.start() as second:
            printed = [process.communicate()[0] for process in (first, second)]
            statuses = [first.returncode, second.returncode]
    if 0 not in statuses:
        raise FaultError("\n".join(("both runs failed", *printed)))
    for status, text in zip(statuses, printed, strict=True):
        if status != 0:
            scene.check_message(status, text, "another run (")
    scene.check_vectors()
    return True


def full_disk_in_run(scene: Scene) -> bool:
    """Let the disk of the outputs fill up at some point of a run."""
    scene.forget()
    with scene.small_disk(scene.random.randint(0, 40)):
        return _check_failed_run(scene, (), ("No space left on device",))


def read_only_in_run(scene: Scene) -> bool:
    """Let the outputs be read-only for a run."""
    scene.forget()
    with scene.small_disk(1000) as disk:
        disk.remount("ro")
        struck = _check_failed_run(scene, (), ("Read-only file system", "cannot be written to"))
        disk.remount("rw")
    return struck


def no_permission_in_run(scene: Scene) -> bool:
    """Take the permission for a folder of outputs from a run."""
    scene.forget()
    out = scene.checkout.out
    folder = scene.random.choice((out, out / "train", out / ".shards", scene.bookkeeping))
    folder.chmod(0o555)
    # Root without these asks for permission like everybody.
    setpriv = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    try:
        return _check_failed_run(scene, setpriv, ("Permission denied", "cannot be written to"))
    finally:
        folder.chmod(0o755)


def _check_failed_run(scene: Scene, prefix: tuple[str, ...], expected: tuple[str, ...]) -> bool:
    result = scene.checkout.run_plain(*prefix, *scene.checkout.command())
    scene.check_vectors(result.stdout)
    if result.returncode != 0:
        scene.check_message(result.returncode, result.stdout, *expected)
    return result.returncode != 0


def damage(pattern: str, cut: bool, keep_time: bool = False) -> Callable[[Scene], bool]:
    """Return a fault: a file of the outputs is cut short, or one of its bits flips."""

    def inject(scene: Scene) -> bool:
        path = scene.random.choice(sorted(scene.checkout.out.glob(pattern)))
        change(path, scene.random, cut, keep_time)
        return True

    return inject


def change(path: Path, dice: random.Random, cut: bool, keep_time: bool = False) -> None:
    """Cut a file short, or flip one of its bits."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    place = dice.randrange(len(content))
    if cut:
        del content[place:]
    else:
        content[place] ^= 1 << dice.randrange(8)
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rotten_embedding(scene: Scene) -> bool:
    """Flip a bit of an embedding, with its time kept, and let a run look at all of them."""
    damage(EMBEDDINGS, cut=False, keep_time=True)(scene)
    result = scene.checkout.run("--forcerun", "collect_split")
    if result.returncode != 0:
        scene.check_message(result.returncode, result.stdout, "run the same command again")
    scene.check_vectors(result.stdout)
    return result.returncode != 0


def jumped_clock(hours: int) -> Callable[[Scene], bool]:
    """Return a fault: some files come from other hours, as if the clock had been wrong then."""

    def inject(scene: Scene) -> bool:
        shift = round(hours * 3600e9)
        paths = [path for path in scene.checkout.out.rglob("*") if path.is_file()]
        for path in scene.random.sample(paths, scene.random.randint(1, len(paths))):
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + shift))
        return True

    return inject


def lost_power(scene: Scene) -> bool:
    """Let a job's disk lose power: what the kernel had not yet sent there is gone."""
    scene.forget()
    disk, crashed = scene.root / "disk.img", scene.root / "crashed.img"
    kept = scene.root / "kept"
    with disk.open("wb") as file:
        file.truncate(48 * MIB)
    subprocess.run([str(MKFS), "-q", str(disk)], check=True)
    scene.out.rename(kept)
    scene.out.mkdir()
    with mounted(disk, scene.out):
        shutil.copytree(kept, scene.out, dirs_exist_ok=True)
        os.sync()
        process_id = scene.nursery.start(scene.job(scene.random.choice(SHARDS)))
        if scene.random.random() < 0.5:
            time.sleep(scene.random.uniform(0, scene.job_seconds))
            os.kill(process_id, signal.SIGSTOP)
            shutil.copyfile(disk, crashed)
            os.kill(process_id, signal.SIGKILL)
            scene.nursery.wait(process_id)
        else:
            scene.nursery.wait(process_id)
            # Names reach the disk each second here, contents half a minute later.
            time.sleep(scene.random.uniform(0, 2))
            shutil.copyfile(disk, crashed)
    shutil.rmtree(kept)
    with mounted(crashed, scene.out):
        shutil.copytree(scene.out, kept)
    scene.out.rmdir()
    kept.rename(scene.out)
    # Without a marker, what is cut off does not count.
    done = {
        utt_id
        for marker in scene.bookkeeping.glob("*.done")
        for utt_id in json.loads(marker.with_suffix(".json").read_bytes())["utt_ids"]
    }
    for path in scene.checkout.embeddings.glob("*.pt"):
        if path.stem not in done and path.stat().st_size == 0:
            path.unlink()
    if done - set(scene.vectors()):
        raise FaultError(f"lost: a marker stands, but not {done - set(scene.vectors())}")
    scene.check_vectors()
    return True


@contextmanager
def mounted(disk: Path, mount_point: Path) -> Iterator[None]:
    """Mount a file as a disk, for a while."""
    mount("-o", "loop,commit=1", str(disk), str(mount_point))
    try:
        yield
    finally:
        subprocess.run(["umount", str(mount_point)], check=True)


def late_files(scene: Scene) -> bool:
    """Let a finished job's marker and some of its embeddings be seen only seconds later."""
    scene.forget()
    hidden: set[str] = set()
    threads = []
    with scene.checkout.start() as process:
        while process.poll() is None:
            for marker in scene.bookkeeping.glob("*.done"):
                if marker.name not in hidden:
                    hidden.add(marker.name)
                    shard = json.loads(marker.with_suffix(".json").read_bytes())
                    names = [f"{name}.pt" for name in scene.random.sample(shard["utt_ids"], 3)]
                    names.append(f"{marker.stem}.safetensors")
                    places = [scene.checkout.embeddings / name for name in names]
                    paths = [path for path in places if path.exists()]
                    seconds = scene.random.uniform(0.5, 4)
                    for path in (marker, *paths):
                        threads.append(threading.Thread(target=hide, args=(path, seconds)))
                        threads[-1].start()
            time.sleep(0.01)
        printed, _ = process.communicate()
    for thread in threads:
        thread.join()
    if process.returncode != 0:
        raise FaultError(f"late files end a run\n{printed}")
    scene.check_complete(printed)
    return bool(hidden)


def hide(path: Path, seconds: float) -> None:
    """Move a file out of sight for a while."""
    elsewhere = path.parents[2] / f"late-{path.name}"
    path.rename(elsewhere)
    time.sleep(seconds)
    elsewhere.rename(path)


def descendants(process_id: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    found = []
    for task in Path(f"/proc/{process_id}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


FAULTS: dict[str, Fault] = {
    "SIGKILL to a job": Fault(killed_job(signal.SIGKILL), by_snakemake=False),
    "SIGTERM to a job": Fault(killed_job(signal.SIGTERM), by_snakemake=False),
    "disk full in a job": Fault(full_disk, by_snakemake=False, needs_root=True),
    "read-only outputs in a job": Fault(read_only, by_snakemake=False, needs_root=True),
    "no permission in a job": Fault(no_permission, by_snakemake=False, needs_root=True),
    "out of file handles in a job": Fault(few_handles, by_snakemake=False),
    "out of memory in a job": Fault(little_memory, by_snakemake=False),
    "two jobs on one shard": Fault(two_jobs, by_snakemake=False),
    "audio replaced while it is read": Fault(replaced_audio, by_snakemake=False),
    "bit flipped in the encoder's copy, then a job": Fault(
        damaged_under_job(".encoder/*.[cty]*", "the encoder's copy is damaged"), by_snakemake=False
    ),
    "bit flipped in an index shard, then a job": Fault(
        damaged_under_job(".shards/train/0-of-2.json", "no index shard"), by_snakemake=False
    ),
    "files seen late": Fault(late_files, by_snakemake=True),
    "SIGKILL to Snakemake": Fault(killed_run(signal.SIGKILL, False), by_snakemake=True),
    "SIGTERM to Snakemake": Fault(killed_run(signal.SIGTERM, False), by_snakemake=True),
    "SIGKILL to everything": Fault(killed_run(signal.SIGKILL, True), by_snakemake=True),
    "SIGTERM to everything": Fault(killed_run(signal.SIGTERM, True), by_snakemake=True),
    "SIGINT to everything": Fault(killed_run(signal.SIGINT, True), by_snakemake=True),
    "SIGKILL to a job of a run": Fault(killed_job_of_run, by_snakemake=True),
    "two runs at once": Fault(two_runs, by_snakemake=True),
    "disk full in a run": Fault(full_disk_in_run, by_snakemake=True, needs_root=True),
    "read-only outputs in a run": Fault(read_only_in_run, by_snakemake=True, needs_root=True),
    "no permission in a run": Fault(no_permission_in_run, by_snakemake=True, needs_root=True),
    "bit flipped in an embedding": Fault(rotten_embedding, by_snakemake=True),
    "clock an hour ahead": Fault(jumped_clock(1), by_snakemake=True),
    "clock two days behind": Fault(jumped_clock(-48), by_snakemake=True),
}
if MKFS:
    FAULTS["power lost in a job"] = Fault(lost_power, by_snakemake=False, needs_root=True)
for name, pattern in {
    "a done-marker": ".shards/train/*.done",
    "an index shard": ".shards/train/*.json",
    "the plan": ".shards/train.json",
    "the encoder's copy": ".encoder/*.[cty]*",
    "the encoder's description": ".encoder/encoder.json",
}.items():
    FAULTS[f"{name} cut short"] = Fault(damage(pattern, cut=True), by_snakemake=True)
    FAULTS[f"bit flipped in {name}"] = Fault(damage(pattern, cut=False), by_snakemake=True)
FAULTS["an embedding cut short"] = Fault(damage(EMBEDDINGS, True, keep_time=True), True)
