import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import xvectors
from envs.licences import EXTRAS

ENVS = Path(__file__).resolve().parents[2] / "envs"
PINS = ["requirements", "requirements-dev", *EXTRAS, "fuzz", "tools"]


def pinned(name):
    lines = (ENVS / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r "))]


def locked(name):
    """Names as pip normalises them, each with its versions."""
    versions = {}
    for package, version in re.findall(
        r"^([\w.-]+)==([^ ;]+)", (ENVS / f"{name}.lock").read_text(), re.MULTILINE
    ):
        versions.setdefault(package, set()).add(version)
    return versions


def test_make_installs_every_extra():
    makefile = (ENVS.parent / "Makefile").read_text()
    (names,) = re.findall(r"^EXTRAS := (.+)$", makefile, re.MULTILINE)
    assert names.split() == list(EXTRAS)


def test_conda_and_pip_have_the_same_versions():
    packages = {
        name: set(yaml.safe_load((ENVS / f"{name}.yaml").read_text())["dependencies"][-1]["pip"])
        for name in ("main", "embedding", "results")
    }
    slurm = next(line for line in pinned("requirements") if "executor-plugin-slurm" in line)
    assert set().union(*packages.values()) == set(pinned("requirements")) - {slurm}
    assert not any("snakemake" in line for line in packages["embedding"] | packages["results"])


@pytest.mark.parametrize("name", PINS)
def test_locks_have_the_pinned_versions(name):
    lock = locked(name)
    for line in pinned(name):
        package, version = line.split("==")
        assert lock[re.sub(r"[-_.]+", "-", package).lower()] == {version}, "make lock"


@pytest.mark.parametrize("name", [*PINS, "build"])
def test_locks_have_hashes_and_name_no_host(name):
    text = (ENVS / f"{name}.lock").read_text()
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(entries) >= 1
    for entry in entries:
        assert re.match(
            r"[\w.-]+==[\w.]+( ; .+)? \\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+$", entry
        )


def test_one_environment_takes_the_same_versions_from_every_lock():
    common = locked("requirements")
    for name in ("requirements-dev", "build", *EXTRAS):
        for package, versions in locked(name).items():
            assert versions == common.get(package, versions), f"{name}: {package}"


def test_the_bill_of_materials_is_that_of_the_locks():
    text = (ENVS / "sbom.cdx.json").read_text()
    found = {(c["name"], c["version"]) for c in json.loads(text)["components"]}
    assert found == {
        (package, version)
        for name in ("requirements", *EXTRAS)
        for package, versions in locked(name).items()
        for version in versions
    }, "make sbom"
    assert "file:" not in text
    assert re.findall(r"https?://[^/]+", text) == ["http://cyclonedx.org"]


def test_the_citation_is_of_this_version():
    root = ENVS.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert str(citation["version"]) == xvectors.__version__
    assert citation["license"] == project["license"]
    assert [author["name"] for author in citation["authors"]] == ["The xvectors authors"]
