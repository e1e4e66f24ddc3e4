"""Workarounds for other projects are tried again when the pinned version changes."""

import importlib

import pytest

from xvectors.config.toolkits import ENVS, missing_packages


@pytest.mark.parametrize(
    ("package", "module", "requirements"),
    [
        ("snakemake", "xvectors.run.snakemake_workarounds", "requirements.txt"),
        ("speechbrain", "xvectors.audio.workarounds", "requirements.txt"),
        ("speechbrain", "xvectors.encoders.speechbrain.workarounds", "requirements.txt"),
        ("espnet", "xvectors.encoders.espnet.workarounds", "espnet.txt"),
    ],
)
def test_workarounds_are_for_the_pinned_version(package, module, requirements):
    if missing_packages(package):
        pytest.skip(f"{package} is not installed: make {package}")
    workarounds = importlib.import_module(module)
    pins = (ENVS / requirements).read_text().splitlines()
    assert f"{package}=={workarounds.CHECKED_VERSION}" in pins, (
        f"try whether {workarounds.__name__} is still needed, then set its CHECKED_VERSION"
    )
