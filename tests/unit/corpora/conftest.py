import pytest


@pytest.fixture
def manifest(tmp_path):
    """The manifest to be made, in a folder that is not there yet."""
    return tmp_path / "manifests" / "train.tsv"
