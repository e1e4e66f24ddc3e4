import os
import subprocess
import sys
from pathlib import Path

import xvectors
from xvectors.run.python_path import share_package_with_jobs

SCRIPTS = str(Path(xvectors.__file__).parents[1])


def test_this_package_comes_first_and_once(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/theirs", SCRIPTS, "", "/more"]))
    for _ in range(2):
        share_package_with_jobs()
        assert os.environ["PYTHONPATH"].split(os.pathsep) == [SCRIPTS, "/theirs", "/more"]


def test_a_job_imports_it_though_another_version_is_installed(monkeypatch, tmp_path):
    (tmp_path / "xvectors.py").write_text("raise SystemExit('another version')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    share_package_with_jobs()
    code = "import xvectors; print(xvectors.__file__)"
    job = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert job.stdout.strip() == xvectors.__file__
