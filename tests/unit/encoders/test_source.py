import shutil
from pathlib import Path

import pytest

from xvectors.encoders.source import files_version, fingerprint_of


@pytest.fixture
def encoder(tmp_path, demo_encoder) -> Path:
    return Path(shutil.copytree(demo_encoder, tmp_path / "encoder"))


def test_texts_about_an_encoder_do_not_change_it(encoder):
    before = fingerprint_of(encoder)
    (encoder / "README.md").write_text("about it")
    (encoder / ".cache").mkdir()
    (encoder / ".cache" / "x.json").write_text("{}")
    assert fingerprint_of(encoder) == before


@pytest.mark.parametrize("name", ["embedding_model.ckpt", "hyperparams.yaml"])
def test_a_changed_file_changes_the_fingerprint(encoder, name):
    before = fingerprint_of(encoder)
    content = bytearray((encoder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (encoder / name).write_bytes(content)
    assert fingerprint_of(encoder) != before


def test_the_version_of_the_files_follows_their_times(encoder):
    before = files_version(str(encoder))
    (encoder / "classifier.ckpt").touch()
    assert files_version(str(encoder)) != before
    assert files_version("speechbrain/spkrec-ecapa-voxceleb") is None
