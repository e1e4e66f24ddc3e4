"""Imports between the rooms of the package, beyond what import-linter holds (`make lint`)."""

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "scripts" / "xvectors"
ROOMS_WITH_TORCH = {"encoders", "job", "tasks"}
ROOMS = sorted(
    path.name
    for path in PACKAGE.iterdir()
    if (path / "__init__.py").exists() and path.name not in ROOMS_WITH_TORCH
)
# Made from tensors, for encoders alone.
NEEDS_TORCH = {"xvectors.audio.resampling", "xvectors.audio.strip"}


def modules_of(room: str) -> list[str]:
    names = (
        path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".")
        for path in sorted((PACKAGE / room).rglob("*.py"))
    )
    return [name for name in names if name not in NEEDS_TORCH]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_that_does_not_compute_is_imported_without_torch(room):
    modules = modules_of(room)
    assert len(modules) > 1
    code = f"import sys, {', '.join(modules)}; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_the_package_itself_is_imported_without_torch():
    command = [sys.executable, "-c", "import sys, xvectors; print('torch' in sys.modules)"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_a_run_starts_without_pyav_which_few_files_need():
    command = [sys.executable, "-c", "import sys, xvectors.run.startup; print('av' in sys.modules)"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
