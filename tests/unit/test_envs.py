from pathlib import Path

import yaml

ENVS = Path(__file__).resolve().parents[2] / "envs"


def test_conda_and_pip_have_the_same_versions():
    lines = (ENVS / "requirements.txt").read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    conda = yaml.safe_load((ENVS / "xvectors.yaml").read_text())
    assert conda["dependencies"][-1]["pip"] == pinned
    assert all("==" in line for line in pinned)
