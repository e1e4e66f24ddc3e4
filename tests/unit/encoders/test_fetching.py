import json
import shutil
import zipfile
from pathlib import Path

import pytest
from huggingface_hub import constants

from xvectors.encoders.fetching import describes, fetch_encoder, read_fingerprint
from xvectors.encoders.source import fingerprint_of
from xvectors.errors import EncoderError


@pytest.fixture
def encoder(tmp_path, demo_encoder) -> Path:
    return Path(shutil.copytree(demo_encoder, tmp_path / "encoder"))


def test_a_local_folder_becomes_a_copy_with_a_fingerprint(tmp_path, encoder):
    description = tmp_path / "out" / ".encoder" / "encoder.json"
    fetch_encoder(str(encoder), description)
    names = {path.name for path in description.parent.iterdir()}
    assert names == {path.name for path in encoder.iterdir()} | {"encoder.json"}
    assert not any(path.is_symlink() for path in description.parent.iterdir())
    assert read_fingerprint(description) == fingerprint_of(encoder)
    assert fingerprint_of(description.parent) == fingerprint_of(encoder)


def test_a_folder_in_place_of_the_description_is_replaced(tmp_path, encoder):
    description = tmp_path / ".encoder" / "encoder.json"
    description.mkdir(parents=True)
    assert not describes(description, str(encoder))
    fetch_encoder(str(encoder), description)
    assert describes(description, str(encoder))


def test_fetching_again_leaves_nothing_of_the_earlier_encoder(tmp_path, encoder):
    description = tmp_path / ".encoder" / "encoder.json"
    (encoder / "extra").mkdir()
    (encoder / "extra" / "weights.ckpt").write_bytes(b"1")
    fetch_encoder(str(encoder), description)
    first = read_fingerprint(description)
    assert (description.parent / "extra" / "weights.ckpt").is_file()
    shutil.rmtree(encoder / "extra")
    fetch_encoder(str(encoder), description)
    assert not (description.parent / "extra").exists()
    assert read_fingerprint(description) != first


def test_a_single_file(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"weights")
    description = tmp_path / ".encoder" / "encoder.json"
    fetch_encoder(str(tmp_path / "model.pth"), description)
    assert (description.parent / "model.pth").read_bytes() == b"weights"


def test_a_checkpoint_brings_the_configuration_beside_it(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"weights")
    (tmp_path / "config.yaml").write_text("a: 1")
    (tmp_path / "other.pth").touch()
    source, description = tmp_path / "model.pth", tmp_path / ".encoder" / "encoder.json"
    fetch_encoder(str(source), description)
    names = {path.name for path in description.parent.iterdir()}
    assert names == {"model.pth", "config.yaml", "encoder.json"}
    assert fingerprint_of(source) == fingerprint_of(description.parent)
    (tmp_path / "config.yaml").write_text("a: 2")
    assert not describes(description, str(source))
    assert fingerprint_of(source) != fingerprint_of(description.parent)


def test_an_archive_is_unpacked(tmp_path, encoder):
    (encoder / "exp").mkdir()
    (encoder / "exp" / "1epoch.pth").write_bytes(b"weights")
    (encoder / "README.md").write_text("about it")
    archive = shutil.make_archive(str(tmp_path / "model"), "zip", encoder)
    description = tmp_path / ".encoder" / "encoder.json"
    fetch_encoder(archive, description)
    assert (description.parent / "exp" / "1epoch.pth").read_bytes() == b"weights"
    assert fingerprint_of(description.parent) == fingerprint_of(encoder)
    assert describes(description, archive)


@pytest.mark.parametrize("n_bytes", [0, 1000])
def test_an_archive_that_is_cut_off(tmp_path, encoder, n_bytes):
    archive = Path(shutil.make_archive(str(tmp_path / "model"), "zip", encoder))
    archive.write_bytes(archive.read_bytes()[:n_bytes])
    with pytest.raises(EncoderError, match=r"model.zip: not an archive, or cut off") as error:
        fetch_encoder(str(archive), tmp_path / ".encoder" / "encoder.json")
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / ".encoder" / "encoder.json").exists()


def test_no_flipped_bit_in_an_archive_ends_in_a_traceback(tmp_path, encoder):
    archive = Path(shutil.make_archive(str(tmp_path / "model"), "zip", encoder))
    whole = archive.read_bytes()
    n_refused = 0
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            archive.write_bytes(flipped)
            try:
                fetch_encoder(str(archive), tmp_path / ".encoder" / "encoder.json")
            except EncoderError:
                n_refused += 1
    assert n_refused


def test_an_archive_writes_nowhere_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("../outside.pth", b"weights")
        archive.writestr(str(tmp_path / "outside.pth"), b"weights")
    description = tmp_path / "a" / "b" / ".encoder" / "encoder.json"
    fetch_encoder(str(tmp_path / "model.zip"), description)
    found = list(tmp_path.rglob("outside.pth"))
    assert len(found) == 2
    assert all(path.is_relative_to(description.parent) for path in found)


def test_no_encoder_at_all(tmp_path):
    fetch_encoder(None, tmp_path / ".encoder" / "encoder.json")
    assert read_fingerprint(tmp_path / ".encoder" / "encoder.json") is None


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(EncoderError, match="no encoder at"):
        fetch_encoder(str(tmp_path / "none"), tmp_path / "encoder.json")


def test_a_hub_that_cannot_be_reached_is_a_one_line_error(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(EncoderError) as error:
        fetch_encoder("nobody/nothing@v1", tmp_path / "encoder.json")
    assert "cannot fetch 'nobody/nothing@v1'" in str(error.value)
    assert "give its path as xvector.pretrained_model" in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "encoder.json").exists()


def test_an_encoder_in_the_hubs_cache_becomes_plain_files(tmp_path, encoder, monkeypatch):
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / "models--some--encoder"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / revision
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in encoder.iterdir():
        shutil.copy(path, blobs / path.name)
        (snapshot / path.name).symlink_to(blobs / path.name)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    description = tmp_path / ".encoder" / "encoder.json"
    for model in ("some/encoder", f"some/encoder@{revision}"):
        fetch_encoder(model, description)
        about = json.loads(description.read_text())
        assert about["revision"] == revision
        assert about["fingerprint"] == fingerprint_of(encoder)
        assert not any(path.is_symlink() for path in description.parent.iterdir())
    # What the repository goes on to does not matter to those who pinned a revision.
    (repository / "refs" / "main").write_text("f" * 40)
    (repository / "snapshots" / ("f" * 40)).mkdir()
    (repository / "snapshots" / ("f" * 40) / "hyperparams.yaml").write_text("changed: true")
    fetch_encoder(f"some/encoder@{revision}", description)
    assert read_fingerprint(description) == fingerprint_of(encoder)
    fetch_encoder("some/encoder", description)
    assert read_fingerprint(description) != fingerprint_of(encoder)


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_a_damaged_description(tmp_path, content):
    (tmp_path / "encoder.json").write_text(content)
    with pytest.raises(EncoderError, match="not a description of an encoder"):
        read_fingerprint(tmp_path / "encoder.json")


def test_a_description_is_of_an_encoder_as_it_is(tmp_path, encoder):
    description = tmp_path / ".encoder" / "encoder.json"
    assert not describes(description, str(encoder))
    fetch_encoder(str(encoder), description)
    assert describes(description, str(encoder))
    assert not describes(description, "some/encoder")
    (encoder / "classifier.ckpt").touch()
    assert not describes(description, str(encoder))


def test_the_copy_itself_is_refused_as_a_source(tmp_path, encoder):
    description = tmp_path / ".encoder" / "encoder.json"
    fetch_encoder(str(encoder), description)
    with pytest.raises(EncoderError, match="give the original"):
        fetch_encoder(str(description.parent), description)
    assert (description.parent / "hyperparams.yaml").is_file()


def test_a_file_of_any_kind_has_a_fingerprint_of_its_own(tmp_path):
    description = tmp_path / ".encoder" / "encoder.json"
    fingerprints = set()
    for content in (b"1", b"2"):
        (tmp_path / "model.t7").write_bytes(content)
        fetch_encoder(str(tmp_path / "model.t7"), description)
        fingerprints.add(read_fingerprint(description))
    assert len(fingerprints) == 2


def test_an_empty_folder_is_no_encoder(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(EncoderError, match="the folder is empty"):
        fetch_encoder(str(tmp_path / "none"), tmp_path / "encoder.json")
