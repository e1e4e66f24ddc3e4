import os

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.preprocess import AudioNormalizer

from xvectors import audio
from xvectors.audio import audio_version, durations, read_signal
from xvectors.errors import UtteranceError

RATE = 16000


def speechlike(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.normal(0, 0.1, (int(seconds * rate), channels)).astype("float32")


def read(path) -> torch.Tensor:
    return read_signal(str(path), RATE, AudioNormalizer(RATE))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_pieces_give_the_same_samples_as_the_whole(tmp_path, monkeypatch, rate, channels):
    samples = speechlike(7.3, rate, channels)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    whole = AudioNormalizer(RATE)(torch.from_numpy(samples), rate)
    monkeypatch.setattr(audio, "PIECE_SECONDS", 2)
    signal = read(tmp_path / "a.wav")
    assert signal.shape == whole.shape
    torch.testing.assert_close(signal, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seconds", [2.0, 3.0, 4.0])
def test_pieces_at_whole_seconds(tmp_path, monkeypatch, seconds):
    samples = speechlike(seconds, 24000)
    soundfile.write(tmp_path / "a.wav", samples, 24000, subtype="FLOAT")
    monkeypatch.setattr(audio, "PIECE_SECONDS", 1)
    monkeypatch.setattr(audio, "MARGIN_SECONDS", 1)
    whole = AudioNormalizer(RATE)(torch.from_numpy(samples), 24000)
    torch.testing.assert_close(read(tmp_path / "a.wav"), whole, rtol=0, atol=1e-6)


def test_a_missing_file(tmp_path):
    with pytest.raises(UtteranceError, match=r"file missing: .*none\.wav"):
        read(tmp_path / "none.wav")


def test_a_folder_and_a_pipe_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path, tmp_path / "pipe.wav"):
        with pytest.raises(UtteranceError, match="not a file"):
            read(path)
    assert durations([str(tmp_path / "pipe.wav")]) == [0.0]


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(UtteranceError, match=r"cannot be read: .*File name too long"):
        read(tmp_path / ("a" * 300))


def test_what_is_no_audio(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no audio at all")
    with pytest.raises(UtteranceError, match="not audio"):
        read(tmp_path / "a.wav")


def test_an_empty_file(tmp_path):
    (tmp_path / "a.wav").touch()
    with pytest.raises(UtteranceError, match="not audio"):
        read(tmp_path / "a.wav")


def test_zero_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0, "float32"), RATE)
    with pytest.raises(UtteranceError, match="zero samples"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite(tmp_path, value):
    samples = speechlike(1, RATE)
    samples[100] = value
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(UtteranceError, match="not finite"):
        read(tmp_path / "a.wav")


def test_a_flac_file_that_is_cut_off(tmp_path):
    soundfile.write(tmp_path / "a.flac", speechlike(2, RATE), RATE)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: len(content) // 2])
    with pytest.raises(UtteranceError, match="not audio"):
        read(tmp_path / "a.flac")


def test_a_file_that_is_replaced_while_it_is_read(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, speechlike(1, RATE), RATE)

    def replace(signal, rate):
        soundfile.write(path, speechlike(2, RATE), RATE)
        return signal[:, 0]

    with pytest.raises(UtteranceError, match="changed while it was read"):
        read_signal(str(path), RATE, replace)


def test_durations_come_from_headers(tmp_path):
    soundfile.write(tmp_path / "a.flac", speechlike(1.5, 8000), 8000)
    (tmp_path / "b.wav").write_bytes(b"rubbish")
    paths = [str(tmp_path / name) for name in ("a.flac", "b.wav", "none.wav")]
    assert durations(paths) == [1.5, 0.0, 0.0]


def test_a_version_changes_with_size_and_with_time(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"1")
    first = audio_version(str(path))
    path.write_bytes(b"22")
    assert audio_version(str(path)) != first
    assert audio_version(str(tmp_path / "none")) is None


def test_a_raw_file_is_no_audio(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"12345678")
    with pytest.raises(UtteranceError, match="not audio"):
        read(tmp_path / "a.raw")
    assert durations([str(tmp_path / "a.raw")]) == [0.0]


def test_a_long_file_that_cannot_be_searched(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", speechlike(5, 8000), 8000, subtype="GSM610")
    whole = read(tmp_path / "a.wav")
    monkeypatch.setattr(audio, "PIECE_SECONDS", 2)
    torch.testing.assert_close(read(tmp_path / "a.wav"), whole, rtol=0, atol=1e-6)


def test_a_streamed_file_of_unknown_length_is_refused(tmp_path):
    # libsndfile cannot read it; it must not pass for one of 10^14 seconds either.
    soundfile.write(tmp_path / "a.flac", speechlike(2, RATE), RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    # STREAMINFO's total samples, 36 bits from byte 21 on: 0 means unknown (RFC 9639, 8.2).
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(content)
    assert durations([str(tmp_path / "a.flac")]) == [0.0]
    with pytest.raises(UtteranceError, match="not audio"):
        read(tmp_path / "a.flac")
