"""The package works when it is installed as a wheel, away from the repository."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.checkout import REPOSITORY
from xvectors.config.toolkits import TOOLKITS

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
# Imported only where a toolkit of that name is installed.
OF_TOOLKITS = {"asteroid_filterbanks", "espnet2", "nltk", "onnxruntime", "silero_vad", "soxr"}
OF_TOOLKITS |= {"transformers", "webrtcvad"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Return the folder of the unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(REPOSITORY / "scripts" / "xvectors", source / "scripts" / "xvectors")
    shutil.copytree(REPOSITORY / "envs", source / "envs")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = folder.glob("xvectors-*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def python(wheel: Path, *arguments: str) -> str:
    """Return what Python prints that has the wheel's package, from another folder."""
    result = subprocess.run(
        [sys.executable, "-P", *arguments],
        check=False,
        cwd=wheel.parent,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_import_is_the_wheels_has_a_version_and_leaves_torch_alone(wheel):
    code = (
        "import sys, xvectors; "
        "print(xvectors.__file__, xvectors.__version__, 'torch' in sys.modules)"
    )
    file, version, has_torch = python(wheel, "-c", code).split()
    assert file == str(wheel / "xvectors" / "__init__.py")
    assert (wheel / f"xvectors-{version}.dist-info").is_dir()
    assert has_torch == "False"


def test_the_command_line_works(wheel):
    assert "make_manifest" in python(wheel, "-m", "xvectors", "--help")
    assert "--pattern" in python(wheel, "-m", "xvectors", "make_manifest", "folder", "--help")


def test_the_runner_works_from_python(wheel, corpus, demo_encoder):
    code = f"""
from xvectors import XVectorProvider, XVectorRunner
config = {{"xvector": {{"pretrained_model": {str(demo_encoder)!r}, "device": "cpu"}}}}
params = {{"manifest_path": {str(corpus / "train.tsv")!r}, "output_dir": "out"}}
runner = XVectorRunner(XVectorProvider(config, params=params), batch_size=2)
print([outcome["status"] for outcome in runner([0, 1])])
"""
    assert python(wheel, "-c", code).splitlines()[-1] == "['ok', 'ok']"
    assert len(list((wheel.parent / "out").glob("*.pt"))) == 2


def test_the_pages_templates_are_there(wheel):
    code = (
        "from xvectors.report.page import TEMPLATES; "
        "print(sorted(path.name for path in TEMPLATES.iterdir()))"
    )
    templates = REPOSITORY / "scripts" / "xvectors" / "report" / "templates"
    names = sorted(path.name for path in templates.iterdir())
    assert python(wheel, "-c", code).split("'")[1::2] == names


def test_toolkits_know_what_they_need(wheel):
    code = (
        "from xvectors.config import toolkits; "
        "toolkits.installed_version = {'xvectors': '0.1.0'}.get"
    )
    for name in TOOLKITS:
        file = REPOSITORY / "envs" / f"{name}.txt"
        if file.exists():
            wanted = re.findall(r"^([\w.-]+)==", file.read_text(), re.MULTILINE)
            lines = f"{code}; print(*toolkits.missing_packages({name!r}))"
            assert python(wheel, "-c", lines).split() == wanted


def test_every_toolkit_with_requirements_is_an_extra():
    extras = PROJECT["tool"]["setuptools"]["dynamic"]["optional-dependencies"]
    with_file = {name for name in TOOLKITS if (REPOSITORY / "envs" / f"{name}.txt").exists()}
    # And the detector of speech.
    assert set(extras) == with_file | {"silero"}


def test_all_that_is_imported_is_required():
    distributions = packages_distributions()
    modules = {
        name.partition(".")[0]
        for path in (REPOSITORY / "scripts" / "xvectors").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _imported(node)
    }
    # The last two: types that only mypy reads, and a part of pydantic's interface.
    elsewhere = {"xvectors", "_typeshed", "pydantic_core"}
    others = modules - set(sys.stdlib_module_names) - elsewhere - OF_TOOLKITS
    required = {_normal(name) for name in PROJECT["project"]["dependencies"]}
    for module in others:
        assert {_normal(name) for name in distributions[module]} & required, module
    imported = {_normal(name) for module in others for name in distributions[module]}
    assert required <= imported


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return []


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
