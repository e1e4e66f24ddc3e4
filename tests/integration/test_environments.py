"""Environments of the main process and of jobs, with a made-up ``conda``.

An environment is this one without the packages that its file does not name or require.
"""

import sys
from importlib.metadata import (
    PackageNotFoundError,
    distributions,
    packages_distributions,
    requires,
)
from pathlib import Path
from typing import get_args

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.checkout import REPOSITORY
from xvectors.config.settings import Export

pytestmark = pytest.mark.integration

CONDA = """#!/bin/sh
case "$1" in
  info) echo '{{"conda_prefix": "{base}", "platform": "linux-64"}}' ;;
  --version) echo "conda 24.7.1" ;;
  config) echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
  env)
    while [ $# -gt 1 ]; do
      case "$1" in --file) file=$2 ;; --prefix) prefix=$2 ;; esac
      shift
    done
    mkdir -p "$prefix/bin" "$prefix/conda-meta"
    name=$(grep -l 'torch==' "$file" > /dev/null && echo embedding || echo results)
    printf '#!/bin/sh\\nXV_MISSING={base}/%s exec {python} "$@"\\n' $name > "$prefix/bin/python"
    chmod +x "$prefix/bin/python"
    ;;
esac
"""
ACTIVATE = 'export PATH="$1/bin:$PATH" CONDA_PREFIX="$1"\n'
# Python imports this module when it starts.
SITECUSTOMIZE = """
import os
import sys


class Missing:
    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing(set(open(os.environ["XV_MISSING"]).read().split())))
"""


def named_packages(environment: str) -> list[str]:
    """Return the packages that an environment file names."""
    text = (REPOSITORY / "envs" / f"{environment}.yaml").read_text()
    return [line.split("==")[0] for line in yaml.safe_load(text)["dependencies"][-1]["pip"]]


def with_required(packages: list[str]) -> set[str]:
    """Return packages and all that they require."""
    open_names, found = list(packages), set()
    while open_names:
        name = canonicalize_name(open_names.pop())
        if name in found:
            continue
        found.add(name)
        try:
            lines = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:
            continue  # Required on another system only.
        open_names += [one.name for one in lines if not one.marker or one.marker.evaluate()]
    return found


@pytest.fixture
def conda(checkout, monkeypatch) -> Path:
    """Let the main process have the environment ``main``; a made-up ``conda`` makes the others."""
    base = checkout.root / "conda"
    (base / "bin").mkdir(parents=True)
    # Snakemake imports every plugin that is installed here.
    plugins = [one.name for one in distributions() if one.name.startswith("snakemake-")]
    main = with_required([*named_packages("main"), *plugins])
    for name in ("main", "embedding", "results"):
        # Snakemake adds the packages of the main process behind a job's own.
        present = main | with_required(named_packages(name)) | {"xvectors"}
        missing = {
            module
            for module, packages in packages_distributions().items()
            if not present & set(map(canonicalize_name, packages))
        }
        (base / name).write_text("\n".join(missing))
    (base / "sitecustomize.py").write_text(SITECUSTOMIZE)
    (base / "bin" / "activate").write_text(ACTIVATE)
    (base / "bin" / "conda").write_text(CONDA.format(base=base, python=sys.executable))
    (base / "bin" / "conda").chmod(0o755)
    environment = checkout.environment() | {"XV_MISSING": str(base / "main")}
    environment["PATH"] = f"{base / 'bin'}:{environment['PATH']}"
    environment["PYTHONPATH"] += f":{base}"
    monkeypatch.setattr(checkout, "environment", lambda: environment)
    return base


def test_jobs_have_environments_of_their_own(checkout, conda, reference):
    checkout.xvector.update(
        speaker_means=True,
        report=True,
        labels=True,
        clusters=True,
        exports=list(get_args(Export)),
    )
    checkout.run_well("--software-deployment-method", "conda")
    for utt_id, vector in checkout.vectors().items():
        reference.assert_same(vector, checkout.audio(utt_id))
