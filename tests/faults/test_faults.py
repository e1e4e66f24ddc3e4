"""Every kind of fault once; ``make soak`` injects them for as long as one likes."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .faults import FAULTS
from .fork_server import ForkServer
from .harness import Harness

pytestmark = pytest.mark.integration

# A run takes ten seconds and a job one: here jobs alone suffer what they can, and runs the rest.
OF_JOBS = [kind for kind, fault in FAULTS.items() if not fault.by_snakemake]
OF_RUNS = [
    "SIGKILL to everything",
    "files seen late",
    "bit flipped in an embedding",
    "clock an hour ahead",
]


def can_mount(folder: Path) -> bool:
    """Tell whether this machine lets us mount file systems."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, check=False).returncode == 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Harness]]:
    """A harness for each way of storing embeddings, to be copied only."""
    with ForkServer() as fork_server:
        yield {
            storage: Harness(tmp_path_factory.mktemp(storage), fork_server, 7, storage)
            for storage in ("files", "packed")
        }


@pytest.fixture
def harness(
    undisturbed: dict[str, Harness], tmp_path: Path, request: pytest.FixtureRequest
) -> Harness:
    """A harness of one's own."""
    if FAULTS[request.getfixturevalue("kind")].needs_root and not can_mount(tmp_path):
        pytest.skip("only root can mount a small disk, and not in every container")
    return undisturbed[request.getfixturevalue("storage")].copied(tmp_path, seed=7)


@pytest.mark.parametrize("kind", OF_JOBS)
@pytest.mark.parametrize("storage", ["files", "packed"])
def test_a_job_is_disturbed_and_then_completes(harness, kind, storage):
    FAULTS[kind].inject(harness)
    harness.finish_jobs()


@pytest.mark.parametrize("kind", OF_RUNS)
@pytest.mark.parametrize("storage", ["files"])
def test_a_run_is_disturbed_and_then_completes(harness, kind, storage):
    FAULTS[kind].inject(harness)
    harness.finish()
