"""Imports between the rooms of the package, beyond what import-linter holds (`make lint`)."""

import json
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "scripts" / "xvectors"
ROOMS_WITH_TORCH = {"encoders", "job", "tasks"}
# Made from tensors, for encoders alone.
NEEDS_TORCH = {"xvectors.audio.resampling", "xvectors.audio.strip"}
# In a process in which nothing is imported yet: which modules import something first.
IMPORTING = """
import importlib, json, sys

package, *modules = json.loads(sys.argv[1])
found = []
for module in modules:
    before = package in sys.modules
    importlib.import_module(module)
    if package in sys.modules and not before:
        found.append(module)
print(json.dumps(found))
"""


def importers(package: str, modules: list[str]) -> list[str]:
    """Return the first module of some, imported in turn, that imports a package."""
    command = [sys.executable, "-c", IMPORTING, json.dumps([package, *modules])]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(result.stdout)
    return found


def test_rooms_that_do_not_compute_are_imported_without_torch():
    paths = sorted(PACKAGE.rglob("*.py"))
    names = [
        path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".")
        for path in paths
        if path.relative_to(PACKAGE).parts[0] not in ROOMS_WITH_TORCH
    ]
    modules = [name for name in names if name not in NEEDS_TORCH]
    assert len(modules) > 50
    assert importers("torch", ["xvectors", *modules]) == []


def test_a_run_starts_without_pyav_which_few_files_need():
    assert importers("av", ["xvectors.run.startup"]) == []
