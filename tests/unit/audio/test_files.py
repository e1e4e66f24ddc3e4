import errno
import os
from pathlib import Path

import kaldi_native_io
import numpy as np
import pytest
import soundfile
import torch

from tests.support.containers import PACKERS
from xvectors.audio import files
from xvectors.audio.byte_ranges import MAX_HELD_BYTES
from xvectors.audio.files import DecoderFile, open_file
from xvectors.audio.opening import durations
from xvectors.audio.reading import read_signal
from xvectors.audio.resampling import Normalizer
from xvectors.audio.signal import Segment
from xvectors.errors import UtteranceError

RATE = 16000
# The kinds that tell their own size in an archive of Kaldi's.
IN_ARK = ("wav", "flac")
KINDS = ("wav", "flac", "mp3", "ogg", "opus", "float.wav", "stereo.flac", "aiff")


def write_recordings(folder):
    generator = np.random.default_rng(0)
    paths = []
    for i, kind in enumerate(KINDS):
        path = folder / f"a{i}.{kind}"
        samples = generator.normal(0, 0.1, (RATE + 4000 * i, 1 + ("stereo" in kind)))
        subtype = {"float.wav": "FLOAT", "opus": "OPUS"}.get(kind)
        form = {"opus": "OGG"}.get(kind, path.suffix[1:].upper())
        soundfile.write(path, samples, RATE, subtype, format=form)
        paths.append(path)
    return paths


@pytest.mark.parametrize("kind", PACKERS)
def test_members_give_the_samples_of_their_files(tmp_path, kind):
    paths = write_recordings(tmp_path)
    if kind == "ark":
        paths = [path for path in paths if path.suffix.removeprefix(".") in IN_ARK]
        assert len(paths) == 4
    members = PACKERS[kind](paths, tmp_path / f"all.{kind}")
    normalizer = Normalizer(RATE)
    assert durations(members) == durations(list(map(str, paths)))
    for path, member in zip(paths, members, strict=True):
        with open_file(member) as file:
            # The end of FLAC is not known without decoding.
            assert file.read().startswith(path.read_bytes())
        for segment in (None, Segment(0.25, 0.75)):
            expected = read_signal(str(path), normalizer, segment)
            signal = read_signal(member, normalizer, segment)
            assert torch.equal(signal.samples, expected.samples), (path.name, segment)
            assert signal.decoded == expected.decoded


def test_a_system_without_files_in_memory(tmp_path, monkeypatch):
    paths = [tmp_path / "a.flac", tmp_path / "b.flac"]
    soundfile.write(paths[0], np.random.default_rng(0).normal(0, 0.1, RATE), RATE)
    paths[1].write_bytes(b"fLaC" + bytes(1000))
    members = PACKERS["parquet"](paths, tmp_path / "a.parquet")

    def read_both():
        n_open = len([*Path("/dev/fd").iterdir()])
        with pytest.raises(UtteranceError):
            read_signal(members[1], Normalizer(RATE))
        samples = read_signal(members[0], Normalizer(RATE)).samples
        assert len([*Path("/dev/fd").iterdir()]) == n_open
        return samples

    read_signal(members[0], Normalizer(RATE))
    expected = read_both()

    def refuse(name):
        raise PermissionError(errno.EACCES, "Permission denied", name)

    monkeypatch.setattr("os.memfd_create", refuse, raising=False)
    assert torch.equal(read_both(), expected)
    monkeypatch.delattr("os.memfd_create")
    assert torch.equal(read_both(), expected)


def test_a_long_member_in_pieces(tmp_path):
    samples = np.random.default_rng(0).normal(0, 0.1, (130 * 8000, 2))
    soundfile.write(tmp_path / "a.flac", samples, 8000)
    (member,) = PACKERS["tar"]([tmp_path / "a.flac"], tmp_path / "a.tar")
    normalizer = Normalizer(RATE)
    expected = read_signal(str(tmp_path / "a.flac"), normalizer).samples
    assert torch.equal(read_signal(member, normalizer).samples, expected)


@pytest.mark.parametrize("name", ["none.ark:3", "none.tar:3+4", "none.parquet:audio[0]"])
def test_a_container_that_is_missing(tmp_path, name):
    container = tmp_path / name.partition(":")[0]
    with pytest.raises(UtteranceError, match=f"^file missing: {container}$"):
        open_file(str(tmp_path / name))
    container.mkdir()
    with pytest.raises(UtteranceError, match=r"^cannot be read: "):
        open_file(str(tmp_path / name))


class FaultyFile:
    def __init__(self, number):
        self.number = number

    def fail(self, *_):
        raise OSError(self.number, "no")

    read = readinto = seek = fail


def test_errors_of_the_machine_are_kept():
    file = DecoderFile(FaultyFile(errno.EIO))
    assert file.read(1) == b""
    assert file.readinto(bytearray(1)) == 0
    assert file.seek(3) == -errno.EIO
    assert file.error.errno == errno.EIO


def test_a_place_beyond_all_files_is_no_error():
    file = DecoderFile(FaultyFile(errno.EINVAL))
    assert file.read(1) == b""
    assert file.error is None


@pytest.mark.parametrize("held", [0, MAX_HELD_BYTES])
def test_an_input_error_in_a_container_is_raised(tmp_path, monkeypatch, capfd, held):
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE * 30) + 0.1, RATE)
    (member,) = PACKERS["tar"]([tmp_path / "a.wav"], tmp_path / "a.tar")
    read = os.preadv

    def fail(descriptor, buffers, offset):
        if offset > RATE:
            raise OSError(errno.EIO, "no")
        return read(descriptor, buffers, offset)

    def fail_at_once(*_):
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr("os.preadv", fail)
    monkeypatch.setattr("os.pread", fail_at_once)
    monkeypatch.setattr(files, "MAX_HELD_BYTES", held)
    with pytest.raises(OSError, match="no"):
        read_signal(member, Normalizer(RATE))
    assert capfd.readouterr().err == ""


def test_an_archive_that_kaldis_own_library_wrote(tmp_path):
    samples = np.random.default_rng(0).integers(-9000, 9000, (2, RATE))
    soundfile.write(tmp_path / "a.wav", samples.T.astype("int16"), RATE)
    files = f"{tmp_path}/wav.ark,{tmp_path}/wav.scp"
    with kaldi_native_io.WaveWriter(f"ark,scp:{files}") as writer:
        for name in ("a", "b"):
            wave = kaldi_native_io.WaveData(sample_freq=RATE, data=samples.astype("float32"))
            writer.write(name, wave)
    normalizer = Normalizer(RATE)
    expected = read_signal(str(tmp_path / "a.wav"), normalizer).samples
    for line in (tmp_path / "wav.scp").read_text().splitlines():
        assert torch.equal(read_signal(line.split()[1], normalizer).samples, expected)
