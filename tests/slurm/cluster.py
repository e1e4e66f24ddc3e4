"""A real Slurm cluster of two nodes on this machine, with all of its state in one folder.

Its daemons are Debian's own: munged, slurmctld, a slurmd per node and, with accounting, slurmdbd on
MariaDB. Keys, sockets, configuration, spools, logs and the database lie in one temporary folder,
and the ports are free ones, so that the machine's own configuration is neither read nor changed.
Every client finds the cluster through ``SLURM_CONF``; another variable, which daemons and jobs pass
on, tells which of the machine's processes belong to it.

By hand, with a shell in which ``sbatch`` and ``snakemake --executor slurm`` use the cluster:

    python -m tests.slurm.cluster [--accounting]
"""

import argparse
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.support.debian import DebianError, install

PACKAGES = ("slurm-wlm", "slurmdbd", "munge", "mariadb-server-core", "mariadb-client-core")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "slurmdbd", "mariadbd", "mariadb-install-db")
NODES = ("n1", "n2")
ACCOUNT = "speech"
CLUSTER = "test"
# States of a job that has ended.
ENDED = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "TIMEOUT",
    }
)
# Debian keeps daemons where a user's PATH does not look.
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
POLL_SECONDS = 0.1
# The variable by which the processes of a cluster are known; its value is the cluster's folder.
MARK = "XVECTORS_TEST_CLUSTER"

T = TypeVar("T")


class ClusterError(Exception):
    """The cluster, or one of its commands, does not do what it should."""


def wait_for(condition: Callable[[], T], what: str, seconds: float = 60) -> T:
    """Poll `condition` until it is true, and return what it returned.

    Raises:
        ClusterError: `what` did not become true within `seconds`.

    """
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {seconds:.0f} s")
        time.sleep(POLL_SECONDS)
    return result


def missing_programs() -> list[str]:
    """Return the programs of a cluster that this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=SYSTEM_PATH) is None]


def reason_to_skip() -> str:
    """Return why this machine cannot run a cluster, an empty text if it can.

    Installs the packages where they are missing.
    """
    if os.geteuid() != 0:
        return "a Slurm cluster needs root"
    if missing_programs():
        if shutil.which("apt-get") is None:
            return f"no {missing_programs()[0]} here, and no apt-get to install it"
        try:
            install(PACKAGES)
        except DebianError as error:
            return f"the packages of Slurm cannot be had: {error}"
    missing = missing_programs()
    return f"no {', '.join(missing)} here" if missing else ""


def free_ports(count: int) -> list[int]:
    """Return `count` TCP ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def accepts_connections(port: int) -> bool:
    """Tell whether somebody listens on a TCP port of this machine."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def processes_with(*variables: str) -> list[int]:
    """Return the processes in whose environment all `variables`, each ``name=value``, were set."""
    wanted = {variable.encode() for variable in variables}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            # It has ended meanwhile.
            continue
        if wanted <= set(environment.split(b"\0")):
            found.append(int(folder.name))
    return found


def kill_all(processes: Callable[[], Iterable[int]]) -> None:
    """Send SIGKILL to `processes` until there are none, as they may have started others."""

    def none_left() -> bool:
        left = list(processes())
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not left

    wait_for(none_left, "the end of killed processes")


@dataclass(frozen=True)
class Job:
    """A job, or one task of a job array, as ``squeue`` shows it."""

    job_id: str
    """The job's number; ``<array>_<task>`` for a task of an array."""
    state: str
    """For instance PENDING, RUNNING or COMPLETED."""
    reason: str
    """Why it is in this state."""
    nodes: str
    """The node that it has or had, if any."""
    name: str
    """What ``--job-name`` called it."""


class Daemon:
    """A program that runs in the foreground, as a child of this process."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        """Describe the daemon; it starts with `start`."""
        program = shutil.which(command[0], path=SYSTEM_PATH)
        if program is None:
            raise ClusterError(f"no {command[0]} here")
        self.name = command[0]
        self.command = [program, *command[1:]]
        self.log = log
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, ready: Callable[[], bool]) -> None:
        """Start the daemon, and wait until it is `ready`."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # An interrupt in the terminal of the tests is not for the daemons.
                start_new_session=True,
            )

        def alive_and_ready() -> bool:
            if not self.alive:
                raise ClusterError(f"{self.name} has ended")
            return ready()

        try:
            wait_for(alive_and_ready, f"{self.name} being ready")
        except ClusterError as error:
            raise ClusterError(f"{error}\n{self.last_lines()}") from error

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """End the daemon, by force if it does not end when asked, and wait for it."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def last_lines(self, count: int = 20) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])


class Cluster:
    """A cluster with two nodes, ``n1`` and ``n2``, and its state in the folder `root`.

    `root` has a short path, as sockets lie in it, and its parents let everybody through, as munge
    asks for. Each node has `gpus` GPUs, 8 CPUs and 16 GB, of which only Slurm knows. With
    `accounting`, jobs are recorded by slurmdbd, and only associations of the account ``speech`` may
    submit; without, Slurm forgets a job five minutes after its end.
    """

    def __init__(self, root: Path, accounting: bool = False, gpus: int = 2) -> None:
        """Write the configuration; nothing runs yet."""
        self.root = root
        self.accounting = accounting
        self.gpus = gpus
        self.configuration = root / "slurm.conf"
        names = ["slurmctld", "slurmdbd", "mariadb", *NODES]
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.daemons: dict[str, Daemon] = {}
        self._make_folders()
        self._write_configuration()

    # -- the user's side ---------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Return the environment in which every client finds this cluster, and only this one."""
        outer = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM", "SBATCH_", "SRUN_", "SQUEUE_", "SACCT_"))
        }
        path = os.pathsep.join([str(self.root / "bin"), outer.get("PATH", os.defpath)])
        return {**outer, "SLURM_CONF": str(self.configuration), MARK: str(self.root), "PATH": path}

    def run(self, *command: str) -> str:
        """Run one of Slurm's commands, and return what it printed.

        Raises:
            ClusterError: It failed; the message says why.

        """
        result = subprocess.run(
            command,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise ClusterError(f"{' '.join(command)}: {result.stderr.strip()}")
        return result.stdout

    def submit(self, script: str, *options: str) -> str:
        """Submit a job that runs `script` in a shell, and return its number."""
        log = self.root / "jobs" / "%j.log"
        quiet = ["--parsable", f"--output={log}", "--chdir=/"]
        return self.run("sbatch", *quiet, *options, f"--wrap={script}").strip().split(";")[0]

    def jobs(self, *options: str) -> list[Job]:
        """Return the jobs that slurmctld knows, ended ones too; `options` are those of squeue."""
        columns = "--format=%i|%T|%r|%N|%j"
        listing = self.run("squeue", "--noheader", "--states=all", "--array", columns, *options)
        return [Job(*line.split("|")) for line in listing.splitlines()]

    def job(self, job_id: str) -> Job:
        """Return one job, or one task of an array as ``<array>_<task>``."""
        for job in self.jobs():
            if job.job_id == job_id:
                return job
        raise ClusterError(f"no job {job_id}")

    def wait_for_state(self, job_id: str, *states: str, seconds: float = 60) -> Job:
        """Wait until a job is in one of the `states`, or has ended where none is named."""
        wanted = frozenset(states) or ENDED

        def reached() -> Job | None:
            job = self.job(job_id)
            if job.state in ENDED and job.state not in wanted:
                raise ClusterError(f"{job}: expected {', '.join(sorted(wanted))}")
            return job if job.state in wanted else None

        job = wait_for(reached, f"job {job_id} in {', '.join(sorted(wanted))}", seconds)
        assert job is not None
        return job

    def output_of(self, job_id: str) -> str:
        """Return what a job of `submit` has printed so far."""
        log = self.root / "jobs" / f"{job_id}.log"
        return log.read_text(encoding="utf-8") if log.exists() else ""

    def cancel(self, *job_ids: str) -> None:
        """Cancel jobs, as a user does it."""
        self.run("scancel", *job_ids)

    def reach_time_limit(self, job_id: str) -> None:
        """Let a running job be at its time limit.

        Limits are in minutes; Slurm looks every 30 seconds which jobs have reached theirs.
        """
        self.run("scontrol", "update", f"JobId={job_id}", "TimeLimit=0")

    def account_states(self, job_id: str) -> dict[str, str]:
        """Return the states that the accounting knows of a job's tasks, by ``sacct``'s number."""
        columns = ["--noheader", "--parsable2", "--allocations", "--format=JobID,State"]
        listing = self.run("sacct", f"--jobs={job_id}", *columns)
        return dict(line.split("|") for line in listing.splitlines())

    # -- the administrator's side ------------------------------------------------------------------

    def start(self) -> None:
        """Start all daemons, and wait until both nodes are idle."""
        self._start_munge()
        if self.accounting:
            self._start_database()
            self._start_slurmdbd()
        self._start_slurmctld()
        for node in NODES:
            self.start_node(node)

    def stop(self) -> None:
        """End all daemons and jobs, and wait until none of their processes is left."""
        kill_all(lambda: [process for node in NODES for process in self.processes_of(node)])
        for daemon in reversed(self.daemons.values()):
            daemon.stop()
        self.daemons.clear()
        kill_all(self.processes)

    def restore(self) -> None:
        """End all jobs, start what was killed, and wait until both nodes are idle."""
        self.run("scancel", "--user=root")
        for node in NODES:
            if node not in self.daemons:
                self.start_node(node)
        idle = dict.fromkeys(NODES, "idle")
        wait_for(lambda: self.node_states() == idle, "both nodes being idle")

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node, and wait until the node takes jobs."""
        command = ["slurmd", "-D", "-N", node, "-f", str(self.configuration)]
        environment = {**self.environment(), "SLURMD_NODENAME": node}
        daemon = Daemon(command, self.root / f"{node}.log", environment)
        self.daemons[node] = daemon
        daemon.start(lambda: self.node_states().get(node) in {"idle", "mixed", "allocated"})

    def kill_node(self, node: str) -> None:
        """Kill the slurmd of a node and all that runs there, as a power failure does.

        Slurm notices within half a minute, or at once by `notice_loss`.
        """
        kill_all(lambda: self.processes_of(node))
        self.daemons.pop(node).stop()

    def notice_loss(self, node: str) -> None:
        """Tell Slurm that a node is down, and wait until it has given its jobs up."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
        wait_for(lambda: self.node_states()[node].startswith("down"), f"{node} being down")

    def kill_daemon_of(self, node: str) -> None:
        """Kill only the slurmd of a node; its jobs go on."""
        process = self.daemons.pop(node).process
        assert process is not None
        process.kill()
        process.wait()

    @contextmanager
    def silent_controller(self, patience: int = 5) -> Iterator[None]:
        """Let slurmctld answer nobody for a while; jobs go on.

        Commands that are started meanwhile give up after `patience` seconds.
        """
        process = self.daemons["slurmctld"].process
        assert process is not None
        settings = self.configuration.read_text(encoding="utf-8")
        self._configure(f"{settings}MessageTimeout={patience}\n")
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._configure(settings)
            process.send_signal(signal.SIGCONT)

    def node_states(self) -> dict[str, str]:
        """Return the states of the nodes; a star at the end marks one that does not answer."""
        listing = self.run("sinfo", "--noheader", "--Node", "--format=%N %T")
        return dict(line.split() for line in listing.splitlines())

    def processes(self) -> list[int]:
        """Return all processes of the cluster: daemons and jobs, but not this process."""
        mine = os.getpid()
        return [pid for pid in processes_with(f"{MARK}={self.root}") if pid != mine]

    def processes_of(self, node: str) -> list[int]:
        """Return the processes on a node: its slurmd, and its jobs with their slurmstepd."""
        return processes_with(f"{MARK}={self.root}", f"SLURMD_NODENAME={node}")

    # -- configuration -----------------------------------------------------------------------------

    def _make_folders(self) -> None:
        """Make the folders of the daemons and the files of the GPUs."""
        for name in ("bin", "state", "jobs", "munge"):
            (self.root / name).mkdir(parents=True)
        for node in NODES:
            (self.root / node / "spool").mkdir(parents=True)
            for index in range(self.gpus):
                # Slurm takes the card's index from the end of the name. Nobody opens the file; its
                # numbers are those of NVIDIA's cards.
                file = self.root / node / f"gpu{index}"
                os.mknod(file, stat.S_IFCHR | 0o666, os.makedev(195, index))

        # Snakemake's plugin takes SLURM_CONF away from the srun that it starts in a job.
        srun = shutil.which("srun", path=SYSTEM_PATH)
        script = self.root / "bin" / "srun"
        script.write_text(f'#!/bin/sh\nSLURM_CONF={self.configuration} exec {srun} "$@"\n')
        script.chmod(0o755)

    def _write_configuration(self) -> None:
        """Write all configuration files."""
        host = socket.gethostname().split(".")[0]
        storage = "slurmdbd" if self.accounting else "none"
        settings = f"""\
            ClusterName={CLUSTER}
            SlurmctldHost={host}(127.0.0.1)
            SlurmctldPort={self.ports["slurmctld"]}
            SlurmUser=root
            AuthType=auth/munge
            AuthInfo=socket={self._munge_socket}
            CommunicationParameters=NoCtldInAddrAny,NoInAddrAny

            StateSaveLocation={self.root}/state
            SlurmdSpoolDir={self.root}/%n/spool
            SlurmctldPidFile={self.root}/slurmctld.pid
            SlurmdPidFile={self.root}/%n/slurmd.pid

            SelectType=select/cons_tres
            SelectTypeParameters=CR_Core_Memory
            ProctrackType=proctrack/linuxproc
            TaskPlugin=task/none
            SwitchType=switch/none
            MpiDefault=none
            JobAcctGatherType=jobacct_gather/linux
            # A job that uses more memory than it asked for is killed.
            JobAcctGatherFrequency=task=1
            JobAcctGatherParams=OverMemoryKill
            # A process may not raise its limits where its container forbids it.
            PropagateResourceLimits=NONE
            # The nodes have more CPUs than the machine.
            SlurmdParameters=config_overrides

            # A node that does not answer is down soon, and back as soon as it answers.
            SlurmdTimeout=5
            MessageTimeout=5
            ReturnToService=2
            KillWait=2
            SchedulerParameters=sched_interval=2,sched_min_interval=100000,bf_interval=2

            AccountingStorageType=accounting_storage/{storage}

            GresTypes=gpu
            NodeName=DEFAULT CPUs=8 RealMemory=16000 Gres=gpu:{self.gpus}
            """
        if self.accounting:
            settings += f"""\
            AccountingStorageHost=localhost
            AccountingStoragePort={self.ports["slurmdbd"]}
            # What AuthInfo is to the other daemons: munge's socket, and it knows no "socket=".
            AccountingStoragePass={self._munge_socket}
            AccountingStorageTRES=gres/gpu
            AccountingStorageEnforce=associations
            AccountingStoreFlags=job_comment
            """
        for node in NODES:
            settings += f"""\
            NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={self.ports[node]}
            """
        settings += """\
            PartitionName=main Nodes=ALL Default=YES DefaultTime=10 DefMemPerCPU=1000
            """
        self._configure(textwrap.dedent(settings))
        files = f"{self.root}/{{node}}/gpu[0-{self.gpus - 1}]"
        lines = [f"NodeName={node} Name=gpu File={files.format(node=node)}\n" for node in NODES]
        (self.root / "gres.conf").write_text("".join(lines), encoding="utf-8")

    def _configure(self, settings: str) -> None:
        """Replace the configuration; readers always find it whole."""
        written = self.root / "slurm.conf.new"
        written.write_text(settings, encoding="utf-8")
        written.replace(self.configuration)

    @property
    def _munge_socket(self) -> Path:
        return self.root / "munge" / "socket"

    def _daemon(self, *command: str) -> Daemon:
        """Return a daemon of the cluster, not started yet."""
        daemon = Daemon(list(command), self.root / f"{command[0]}.log", self.environment())
        self.daemons[command[0]] = daemon
        return daemon

    def _start_munge(self) -> None:
        folder = self.root / "munge"
        key = folder / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        files = {"key-file": "key", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
        options = [f"--{option}={folder / name}" for option, name in files.items()]
        socket_option = f"--socket={self._munge_socket}"
        self._daemon("munged", "--foreground", *options, socket_option).start(
            self._munge_socket.exists
        )

    def _start_database(self) -> None:
        """Make an empty database of MariaDB with a user for slurmdbd, and start its server."""
        folder = self.root / "mariadb"
        made = subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={folder}",
                "--user=root",
                "--skip-test-db",
                "--auth-root-authentication-method=socket",
            ],
            capture_output=True,
            text=True,
            env=self.environment(),
            check=False,
        )
        if made.returncode != 0:
            raise ClusterError(f"mariadb-install-db: {made.stdout}{made.stderr}")
        statements = self.root / "mariadb.sql"
        user = "'slurm'@'127.0.0.1'"
        statements.write_text(
            f"CREATE USER {user} IDENTIFIED BY 'slurm';\nGRANT ALL ON slurm.* TO {user};\n"
        )
        port = self.ports["mariadb"]
        self._daemon(
            "mariadbd",
            "--no-defaults",
            f"--datadir={folder}",
            "--user=root",
            "--bind-address=127.0.0.1",
            f"--port={port}",
            f"--socket={folder}/socket",
            f"--pid-file={folder}/pid",
            f"--init-file={statements}",
            # Without the name, its clients are known by their number.
            "--skip-name-resolve",
            # slurmdbd warns of less; a test needs no durability.
            "--innodb-lock-wait-timeout=900",
            "--innodb-flush-log-at-trx-commit=0",
        ).start(lambda: accepts_connections(port))

    def _start_slurmdbd(self) -> None:
        """Start slurmdbd, and give root an account."""
        port = self.ports["slurmdbd"]
        settings = f"""\
            AuthType=auth/munge
            AuthInfo=socket={self._munge_socket}
            DbdHost=localhost
            DbdPort={port}
            SlurmUser=root
            PidFile={self.root}/slurmdbd.pid
            StorageType=accounting_storage/mysql
            StorageHost=127.0.0.1
            StoragePort={self.ports["mariadb"]}
            StorageUser=slurm
            StoragePass=slurm
            StorageLoc=slurm
            """
        configuration = self.root / "slurmdbd.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(textwrap.dedent(settings), encoding="utf-8")
        self._daemon("slurmdbd", "-D").start(lambda: accepts_connections(port))
        for entity in (
            ["cluster", CLUSTER],
            ["account", ACCOUNT, f"Cluster={CLUSTER}"],
            ["user", "root", f"Account={ACCOUNT}"],
        ):
            self.run("sacctmgr", "--immediate", "add", *entity)
        default = ["where", "name=root", "set", f"DefaultAccount={ACCOUNT}"]
        self.run("sacctmgr", "--immediate", "modify", "user", *default)

    def _start_slurmctld(self) -> None:
        command = ["slurmctld", "-D", "-f", str(self.configuration)]
        self._daemon(*command).start(lambda: "UP" in self._ping())

    def _ping(self) -> str:
        """Return what slurmctld answers, an empty text if it does not."""
        try:
            return self.run("scontrol", "ping")
        except ClusterError:
            return ""


@contextmanager
def running_cluster(accounting: bool = False, gpus: int = 2) -> Iterator[Cluster]:
    """Bring up a cluster in a temporary folder, and leave neither process nor file of it."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        root = Path(folder)
        # Munge asks that everybody can get to its socket.
        root.chmod(0o755)
        cluster = Cluster(root, accounting, gpus)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def main() -> None:
    """Bring up a cluster, and open a shell that uses it until the shell ends."""
    parser = argparse.ArgumentParser(description="A Slurm cluster for as long as a shell is open.")
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd and an account")
    arguments = parser.parse_args()
    if reason := reason_to_skip():
        sys.exit(reason)
    with running_cluster(arguments.accounting) as cluster:
        print(f"SLURM_CONF={cluster.configuration}", file=sys.stderr)
        subprocess.run([os.environ.get("SHELL", "sh")], env=cluster.environment(), check=False)


if __name__ == "__main__":
    main()
