"""The repository meets the requirements of the places where people find it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
import yte

REPOSITORY = Path(__file__).resolve().parents[2]
CATALOG_KEYS = {"mandatory-flags", "software-stack-deployment", "report"}
DEPLOYMENTS = {"conda", "apptainer", "apptainer+conda"}


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def test_the_workflow_catalog_accepts_the_workflow():
    """As snakemake-workflow-catalog's "Adding workflows" and generate-catalog.py have it."""
    readme = read("README.md").lower()
    assert "snakemake" in readme
    assert "workflow" in readme
    assert (REPOSITORY / "workflow" / "Snakefile").is_file()
    assert list((REPOSITORY / "workflow" / "rules").glob("*.smk"))
    assert read("config/README.md").startswith("# ")
    settings = yaml.safe_load(read(".snakemake-workflow-catalog.yml"))
    assert settings.keys() == {"usage"}
    usage = settings["usage"]
    assert usage.keys() <= CATALOG_KEYS
    assert usage["mandatory-flags"]["desc"]
    assert usage["software-stack-deployment"].keys() <= DEPLOYMENTS
    assert usage["report"] is True


def test_a_workflow_on_the_web_fetches_the_whole_package():
    """`make format` writes the list."""
    package = REPOSITORY / "scripts" / "xvectors"
    there = [path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    # Toolkits say what they need by these.
    there += (REPOSITORY / "envs").glob("*.txt")
    names = sorted(str(path.relative_to(REPOSITORY)) for path in there)
    assert sorted(read("workflow/package_files.txt").splitlines()) == names


def test_every_rule_that_runs_a_script_names_its_conda_environment():
    for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"):
        rules = re.split(r"^(?=\s*(?:rule|checkpoint)\b)", path.read_text(), flags=re.MULTILINE)
        for rule in rules:
            if "script:" in rule:
                assert "conda:" in rule, f"{path.name}: {rule.splitlines()[0]}"


@pytest.mark.parametrize("is_installed", [True, False])
def test_the_default_profile_needs_no_plugin(is_installed, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: is_installed or None)
    with (REPOSITORY / "profiles" / "default" / "config.yaml").open() as file:
        profile = yte.process_yaml(file, require_use_yte=True)
    assert profile["keep-going"] is True
    assert any(key.startswith("slurm-") for key in profile) == is_installed


def test_the_container_is_built_by_the_steps_of_make_run():
    steps = re.findall(r"^RUN (make .+)$", read("Containerfile"), flags=re.MULTILINE)
    assert steps == ["make .venv/.packages", "make .venv/.run"]
    plan = subprocess.run(
        ["make", "--dry-run", "--always-make", "run"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for stamp in (step.removeprefix("make ") for step in steps):
        assert f"touch {stamp}" in plan


def test_continuous_integration_runs_what_ci_run_does():
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    steps = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    for command in ("make lint", "make run"):
        assert any(step.startswith(command) for step in steps)
        assert command in read(".ci/run")
    markers = {
        line.partition(":")[0]
        for line in read("pyproject.toml")
        .split("markers = [")[1]
        .split("]")[0]
        .replace('"', "")
        .split("\n")
        if ":" in line
    }
    parts = jobs["test"]["strategy"]["matrix"]["part"]
    assert {part for part in parts if " " not in part} == {marker.strip() for marker in markers}
    assert parts[0] == " and ".join(f"not {part}" for part in parts[1:])


def make_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Type ``make run`` in a folder with what it needs to begin."""
    folder.mkdir()
    (folder / "Makefile").write_text(read("Makefile"))
    (folder / "envs").mkdir()
    for name in ("build.lock", "requirements.lock"):
        (folder / "envs" / name).touch()
    command = ["make", "run", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_clone_in_a_path_with_a_space_is_a_one_line_error(tmp_path):
    result = make_run(tmp_path / "my clone")
    assert result.returncode != 0
    (line,) = result.stderr.splitlines()
    assert line.endswith(
        'my clone" has a space in it, and make cannot work there: move the clone.  Stop.'
    )


def test_a_python_that_is_too_old_is_a_one_line_error(tmp_path):
    """It says its version as Python 3.10 does; the rest is this Python."""
    old = tmp_path / "python3.10"
    old.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 10); $2"\n'
    )
    old.chmod(0o755)
    result = make_run(tmp_path / "clone", f"PYTHON={old}")
    assert result.returncode != 0
    first, *_ = result.stderr.splitlines()
    assert first == (
        "error: Python 3.10 is too old: install Python 3.11 or newer and type: "
        "make run PYTHON=python3.12"
    )
    assert not (tmp_path / "clone" / ".venv").exists()
