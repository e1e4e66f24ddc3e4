"""Faults: each does one harm to a harness, at a moment and a place that its dice choose.

It checks what may be checked at once: that what is there is whole and right, and that the message
is clear. The caller then checks that the same command completes.
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

from .fork_server import NOBODY
from .harness import SHARDS, FaultError, Harness, mount

# Not everybody has such folders on PATH, nor every container the program.
MKFS = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")

MIB = 2**20
# Files of embeddings, each one's or packs.
EMBEDDINGS = "train/*[0-9].[ps]*t*"


class Fault(NamedTuple):
    """A kind of fault: how to inject it, returning whether it struck, and how a run completes."""

    inject: Callable[[Harness], bool]
    by_snakemake: bool
    needs_root: bool = False


def killed_job(number: signal.Signals) -> Callable[[Harness], bool]:
    """Return a fault: a job gets a signal at some moment."""

    def inject(harness: Harness) -> bool:
        harness.forget()
        process_id = harness.fork_server.start(harness.job(harness.random.choice(SHARDS)))
        time.sleep(harness.random.uniform(0, harness.job_seconds))
        os.kill(process_id, number)
        struck = harness.fork_server.wait(process_id) == -number
        harness.check_vectors()
        return struck

    return inject


def full_disk(harness: Harness) -> bool:
    """Let the disk fill up after some embeddings."""
    harness.forget()
    with harness.small_disk(harness.random.randint(0, 12)):
        status, printed = harness.run_job(harness.random.choice(SHARDS))
        harness.check_vectors(printed)
        if status != 0:
            harness.check_message(status, printed, "No space left on device")
    return status != 0


def read_only(harness: Harness) -> bool:
    """Let the outputs be read-only."""
    harness.forget()
    with harness.small_disk(1000) as disk:
        disk.remount("ro")
        status, printed = harness.run_job(harness.random.choice(SHARDS))
        disk.remount("rw")
    if status != 0:
        harness.check_message(status, printed, "Read-only file system")
    harness.check_vectors(printed)
    return status != 0


def no_permission(harness: Harness) -> bool:
    """Let another user run the job."""
    harness.forget()
    status, printed = harness.run_job(harness.random.choice(SHARDS), user=NOBODY)
    harness.check_message(status, printed, "Permission denied")
    harness.check_vectors(printed)
    return True


def few_handles(harness: Harness) -> bool:
    """Let a job have next to no file handles."""
    harness.forget()
    limits = {"RLIMIT_NOFILE": harness.random.randint(3, 11)}
    status, printed = harness.run_job(harness.random.choice(SHARDS), limits=limits)
    if status != 0:
        harness.check_message(status, printed, "Too many open files")
    harness.check_vectors(printed)
    return status != 0


def little_memory(harness: Harness) -> bool:
    """Let a job have little memory."""
    harness.forget()
    limits = {"RLIMIT_AS": harness.random.randint(1500, 3800) * MIB}
    status, printed = harness.run_job(harness.random.choice(SHARDS), limits=limits)
    # C libraries may end the process where they get no memory.
    if status > 0:
        harness.check_message(status, printed)
    harness.check_vectors(printed)
    return status != 0


def two_jobs(harness: Harness) -> bool:
    """Let two jobs embed the same shard at the same time."""
    harness.forget()
    job = harness.job(harness.random.choice(SHARDS))
    process_ids = [harness.fork_server.start(job)]
    time.sleep(harness.random.uniform(0, harness.job_seconds / 2))
    process_ids.append(harness.fork_server.start(job))
    statuses = [harness.fork_server.wait(process_id) for process_id in process_ids]
    printed = (harness.root / job.output).read_text()
    if 0 not in statuses:
        raise FaultError(f"both jobs failed\n{printed}")
    if any(statuses):
        harness.check_message(max(statuses), printed, "because another job has finished this shard")
    harness.check_vectors()
    return True


def replaced_audio(harness: Harness) -> bool:
    """Replace recordings while they are read, by a rename or in place, and then put them back."""
    harness.forget()
    recordings = harness.recordings()
    contents = {path: path.read_bytes() for path in recordings}
    dice, done = harness.random, threading.Event()

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
        status, printed = harness.run_job(harness.random.choice(SHARDS))
    finally:
        done.set()
        thread.join()
    for path, content in contents.items():
        path.write_bytes(content)
    if status != 0:
        harness.check_message(status, printed)
    return True


def damaged_audio(harness: Harness) -> bool:
    """Damage a recording, or the container of some, for a job, and then put it back."""
    harness.forget()
    path = harness.random.choice(harness.recordings())
    whole = path.read_bytes()
    change(path, harness.random, cut=harness.random.random() < 0.5)
    status, printed = harness.run_job(harness.random.choice(SHARDS))
    path.write_bytes(whole)
    if status != 0:
        harness.check_message(status, printed)
    return status != 0


def damaged_under_job(pattern: str, message: str) -> Callable[[Harness], bool]:
    """Return a fault: a bit flips in a file that a job is about to read, and then back."""

    def inject(harness: Harness) -> bool:
        harness.forget()
        path = harness.random.choice(sorted(harness.checkout.out.glob(pattern)))
        whole = path.read_bytes()
        change(path, harness.random, cut=False)
        status, printed = harness.run_job(SHARDS[0])
        harness.check_message(status, printed, message)
        harness.check_vectors(printed)
        path.write_bytes(whole)
        return True

    return inject


def killed_run(number: signal.Signals, group: bool) -> Callable[[Harness], bool]:
    """Return a fault: Snakemake, or with `group` it and all its jobs, get a signal."""

    def inject(harness: Harness) -> bool:
        harness.forget()
        with harness.checkout.start() as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(harness.random.uniform(0, harness.run_seconds))
            struck = process.poll() is None
            if struck:
                (os.killpg if group else os.kill)(process.pid, number)
            # Its jobs may go on, and hold the pipe.
            process.wait()
        harness.check_vectors()
        return struck

    return inject


def killed_job_of_run(harness: Harness) -> bool:
    """Let a process that Snakemake has started be killed."""
    harness.forget()
    with harness.checkout.start() as process:
        with suppress(subprocess.TimeoutExpired):
            process.wait(harness.random.uniform(2, harness.run_seconds))
        victims = descendants(process.pid)
        if victims:
            with suppress(ProcessLookupError):
                os.kill(harness.random.choice(victims), signal.SIGKILL)
        printed, _ = process.communicate()
    harness.check_vectors(printed)
    if process.returncode != 0 and "not done" not in printed:
        raise FaultError(f"no clear message\n{printed}")
    return process.returncode != 0


def two_runs(harness: Harness) -> bool:
    """Start two runs at about the same time."""
    harness.forget()
    with harness.checkout.start() as first:
        time.sleep(harness.random.choice((0, harness.random.uniform(0, 3))))
        with harness.checkout.start() as second:
            printed = [process.communicate()[0] for process in (first, second)]
            statuses = [first.returncode, second.returncode]
    if 0 not in statuses:
        raise FaultError("\n".join(("both runs failed", *printed)))
    for status, text in zip(statuses, printed, strict=True):
        if status != 0:
            harness.check_message(status, text, "another run (")
    harness.check_vectors()
    return True


def full_disk_in_run(harness: Harness) -> bool:
    """Let the disk of the outputs fill up at some point of a run."""
    harness.forget()
    with harness.small_disk(harness.random.randint(0, 40)):
        return _check_failed_run(harness, (), ("No space left on device",))


def read_only_in_run(harness: Harness) -> bool:
    """Let the outputs be read-only for a run."""
    harness.forget()
    with harness.small_disk(1000) as disk:
        disk.remount("ro")
        struck = _check_failed_run(harness, (), ("Read-only file system", "cannot be written to"))
        disk.remount("rw")
    return struck


def no_permission_in_run(harness: Harness) -> bool:
    """Take the permission for a folder of outputs from a run."""
    harness.forget()
    out = harness.checkout.out
    folder = harness.random.choice((out, out / "train", out / ".shards", harness.bookkeeping))
    folder.chmod(0o555)
    # Root without these asks for permission like everybody.
    setpriv = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    try:
        return _check_failed_run(harness, setpriv, ("Permission denied", "cannot be written to"))
    finally:
        folder.chmod(0o755)


def _check_failed_run(harness: Harness, prefix: tuple[str, ...], expected: tuple[str, ...]) -> bool:
    result = harness.checkout.run_plain(*prefix, *harness.checkout.command())
    harness.check_vectors(result.stdout)
    if result.returncode != 0:
        harness.check_message(result.returncode, result.stdout, *expected)
    return result.returncode != 0


def damage(pattern: str, cut: bool, keep_time: bool = False) -> Callable[[Harness], bool]:
    """Return a fault: a file of the outputs is cut short, or one of its bits flips."""

    def inject(harness: Harness) -> bool:
        path = harness.random.choice(sorted(harness.checkout.out.glob(pattern)))
        change(path, harness.random, cut, keep_time)
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


def rotten_embedding(harness: Harness) -> bool:
    """Flip a bit of an embedding, with its time kept, and let a run look at all of them."""
    damage(EMBEDDINGS, cut=False, keep_time=True)(harness)
    result = harness.checkout.run("--forcerun", "collect_split")
    if result.returncode != 0:
        harness.check_message(result.returncode, result.stdout, "rerun the same command")
    harness.check_vectors(result.stdout)
    return result.returncode != 0


def jumped_clock(hours: int) -> Callable[[Harness], bool]:
    """Return a fault: some files come from other hours, as if the clock had been wrong then."""

    def inject(harness: Harness) -> bool:
        shift = round(hours * 3600e9)
        paths = [path for path in harness.checkout.out.rglob("*") if path.is_file()]
        for path in harness.random.sample(paths, harness.random.randint(1, len(paths))):
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + shift))
        return True

    return inject


def lost_power(harness: Harness) -> bool:
    """Let a job's disk lose power: what the kernel had not yet sent there is gone."""
    harness.forget()
    disk, crashed = harness.root / "disk.img", harness.root / "crashed.img"
    kept = harness.root / "kept"
    with disk.open("wb") as file:
        file.truncate(48 * MIB)
    subprocess.run([str(MKFS), "-q", str(disk)], check=True)
    harness.out.rename(kept)
    harness.out.mkdir()
    with mounted(disk, harness.out):
        shutil.copytree(kept, harness.out, dirs_exist_ok=True)
        os.sync()
        process_id = harness.fork_server.start(harness.job(harness.random.choice(SHARDS)))
        if harness.random.random() < 0.5:
            time.sleep(harness.random.uniform(0, harness.job_seconds))
            os.kill(process_id, signal.SIGSTOP)
            shutil.copyfile(disk, crashed)
            os.kill(process_id, signal.SIGKILL)
            harness.fork_server.wait(process_id)
        else:
            harness.fork_server.wait(process_id)
            # Names reach the disk each second here, contents half a minute later.
            time.sleep(harness.random.uniform(0, 2))
            shutil.copyfile(disk, crashed)
    shutil.rmtree(kept)
    with mounted(crashed, harness.out):
        shutil.copytree(harness.out, kept)
    harness.out.rmdir()
    kept.rename(harness.out)
    # Without a marker, what is cut off does not count.
    done = {
        utt_id
        for marker in harness.bookkeeping.glob("*.done")
        for utt_id in json.loads(marker.with_suffix(".json").read_bytes())["utt_ids"]
    }
    for path in harness.checkout.embeddings.glob("*.pt"):
        if path.stem not in done and path.stat().st_size == 0:
            path.unlink()
    if done - set(harness.vectors()):
        raise FaultError(f"lost: a marker stands, but not {done - set(harness.vectors())}")
    harness.check_vectors()
    return True


@contextmanager
def mounted(disk: Path, mount_point: Path) -> Iterator[None]:
    """Mount a file as a disk, for a while."""
    mount("-o", "loop,commit=1", str(disk), str(mount_point))
    try:
        yield
    finally:
        subprocess.run(["umount", str(mount_point)], check=True)


def late_files(harness: Harness) -> bool:
    """Let a finished job's marker and some of its embeddings be seen only seconds later."""
    harness.forget()
    hidden: set[str] = set()
    threads = []
    with harness.checkout.start() as process:
        while process.poll() is None:
            for marker in harness.bookkeeping.glob("*.done"):
                if marker.name not in hidden:
                    hidden.add(marker.name)
                    shard = json.loads(marker.with_suffix(".json").read_bytes())
                    names = [f"{name}.pt" for name in harness.random.sample(shard["utt_ids"], 3)]
                    names.append(f"{marker.stem}.safetensors")
                    places = [harness.checkout.embeddings / name for name in names]
                    paths = [path for path in places if path.exists()]
                    seconds = harness.random.uniform(0.5, 4)
                    for path in (marker, *paths):
                        threads.append(threading.Thread(target=hide, args=(path, seconds)))
                        threads[-1].start()
            time.sleep(0.01)
        printed, _ = process.communicate()
    for thread in threads:
        thread.join()
    if process.returncode != 0:
        raise FaultError(f"late files end a run\n{printed}")
    harness.check_complete(printed)
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
    "audio damaged, then a job": Fault(damaged_audio, by_snakemake=False),
    "bit flipped in the encoder's copy, then a job": Fault(
        damaged_under_job(".encoder/*.[cty]*", "the encoder's copy is damaged"), by_snakemake=False
    ),
    "bit flipped in an index shard, then a job": Fault(
        damaged_under_job(".shards/train/0-of-2.json", "not an index shard"), by_snakemake=False
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
