import errno
import io
import os

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from speechbrain.dataio.preprocess import AudioNormalizer

from tests.support.containers import PACKERS
from xvectors.audio import reading, recording
from xvectors.audio.opening import durations, open_recording
from xvectors.audio.reading import read_signal
from xvectors.audio.resampling import Normalizer
from xvectors.audio.signal import Segment
from xvectors.audio.versions import content_hash
from xvectors.errors import UtteranceError

RATE = 16000


def speechlike(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.normal(0, 0.1, (int(seconds * rate), channels)).astype("float32")


def read(path, segment=None) -> torch.Tensor:
    return read_signal(str(path), Normalizer(RATE), segment).samples


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_pieces_give_the_same_samples_as_the_whole(tmp_path, monkeypatch, rate, channels):
    samples = speechlike(7.3, rate, channels)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    whole = AudioNormalizer(RATE)(torch.from_numpy(samples), rate)
    monkeypatch.setattr(reading, "PIECE_SECONDS", 2)
    signal = read(tmp_path / "a.wav")
    assert signal.shape == whole.shape
    torch.testing.assert_close(signal, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seconds", [2.0, 3.0, 4.0])
def test_pieces_at_whole_seconds(tmp_path, monkeypatch, seconds):
    samples = speechlike(seconds, 24000)
    soundfile.write(tmp_path / "a.wav", samples, 24000, subtype="FLOAT")
    monkeypatch.setattr(reading, "PIECE_SECONDS", 1)
    monkeypatch.setattr(reading, "MARGIN_SECONDS", 1)
    whole = AudioNormalizer(RATE)(torch.from_numpy(samples), 24000)
    torch.testing.assert_close(read(tmp_path / "a.wav"), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF", "W64", "NIST"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_give_the_numbers_that_libsndfile_gives(tmp_path, kind, channels):
    path = tmp_path / f"a.{kind.lower()}"
    soundfile.write(path, speechlike(0.5, RATE, channels) * 4, RATE, "PCM_16", format=kind)
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    assert expected.min() == -1
    assert torch.equal(read(path), torch.from_numpy(recording.mix(expected)))


def test_a_signal_that_is_left_at_its_rate(tmp_path, monkeypatch):
    samples = speechlike(3, 24000)
    soundfile.write(tmp_path / "a.wav", samples, 24000, subtype="FLOAT")
    normalizer = Normalizer(RATE)
    normalizer.together = True
    signal = read_signal(str(tmp_path / "a.wav"), normalizer)
    assert signal.rate == 24000
    assert torch.equal(signal.samples, torch.from_numpy(samples[:, 0]))
    # Not one that is read in pieces.
    monkeypatch.setattr(reading, "PIECE_SECONDS", 1)
    signal = read_signal(str(tmp_path / "a.wav"), normalizer)
    assert (signal.rate, len(signal.samples)) == (RATE, 3 * RATE)


def test_a_missing_file(tmp_path):
    with pytest.raises(UtteranceError, match=r"file missing: .*none\.wav"):
        read(tmp_path / "none.wav")


def test_a_folder_and_a_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path, tmp_path / "pipe.wav"):
        with pytest.raises(UtteranceError, match="not a file"):
            read(path)
    assert durations([str(tmp_path / "pipe.wav")]) == [0.0]


@pytest.mark.parametrize("rate", [8000, RATE])
def test_no_samples(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 1)), rate)
    with pytest.raises(UtteranceError, match=r"zero samples: .*a\.wav"):
        read(tmp_path / "a.wav")


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(UtteranceError, match=r"cannot be read: .*File name too long"):
        read(tmp_path / ("a" * 300))


def test_bytes_that_are_not_audio(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"not audio at all")
    with pytest.raises(UtteranceError, match="not audio"):
        read(tmp_path / "a.wav")


def test_an_empty_file(tmp_path):
    (tmp_path / "a.wav").touch()
    with pytest.raises(UtteranceError, match="not audio"):
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

    class Replacing(Normalizer):
        def __call__(self, signal, sample_rate):
            soundfile.write(path, speechlike(2, RATE), RATE)
            return super().__call__(signal, sample_rate)

    with pytest.raises(UtteranceError, match="changed while it was read"):
        read_signal(str(path), Replacing(RATE))


@pytest.mark.parametrize(("kind", "size"), [("tar", "+1000"), ("ark", "")])
def test_a_container_that_was_written_again(tmp_path, kind, size):
    files = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for seconds, path in enumerate(files, start=1):
        soundfile.write(path, speechlike(seconds, RATE), RATE)
    members = PACKERS[kind](files, tmp_path / "all")
    for member in members:
        read(member)
    PACKERS[kind](files[::-1], tmp_path / "all")
    message = r"; nothing begins at that place of .*/all\. If it was written again"
    beyond = f"{tmp_path}/all:1000000{size}"
    for member in (members[1], beyond):
        with pytest.raises(UtteranceError, match=message):
            read(member)
    with pytest.raises(UtteranceError, match=message):
        content_hash(beyond)


def test_a_raw_file_is_refused(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"12345678")
    with pytest.raises(UtteranceError, match="not audio"):
        read(tmp_path / "a.raw")
    assert durations([str(tmp_path / "a.raw")]) == [0.0]


def test_a_long_file_that_cannot_be_searched(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", speechlike(5, 8000), 8000, subtype="GSM610")
    whole = read(tmp_path / "a.wav")
    monkeypatch.setattr(reading, "PIECE_SECONDS", 2)
    torch.testing.assert_close(read(tmp_path / "a.wav"), whole, rtol=0, atol=1e-6)


def test_a_streamed_file_of_unknown_length(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, speechlike(2, RATE), RATE)
    expected = read(path)
    content = bytearray(path.read_bytes())
    # STREAMINFO's total samples, 36 bits from byte 21 on: 0 means unknown (RFC 9639, 8.2).
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert durations([str(path)]) == [2.0]
    assert torch.equal(read(path), expected)
    assert torch.equal(read(path, Segment(0.5, 1.5)), expected[RATE // 2 : RATE * 3 // 2])
    with pytest.raises(UtteranceError, match="cut off"):
        read(path, Segment(1.5, 2.5))


def test_an_mp3_that_was_cut_off(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, speechlike(5, RATE), RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UtteranceError, match=r"cut off: .* ends 2\.\d* s too early"):
        read(path)


# Of a low quality, MP3 frames need earlier ones, and a jump would shift what follows.
@pytest.mark.parametrize(
    ("name", "subtype", "compression"),
    [
        ("a.wav", "PCM_16", None),
        ("a.flac", "PCM_16", None),
        ("a.ogg", "VORBIS", None),
        ("a.opus", "OPUS", None),
        ("a.mp3", "MPEG_LAYER_III", 0.99),
        ("gsm.wav", "GSM610", None),
    ],
)
@pytest.mark.parametrize(
    "segment", [Segment(0, 1.3), Segment(2.71828, 5.5), Segment(6, 7.2), Segment(0.57, 1.14)]
)
def test_a_segment_equals_that_part_of_the_whole(tmp_path, name, subtype, compression, segment):
    rate = 8000
    seconds = np.arange(7.2 * rate) / rate
    samples = 0.5 * np.sin(2 * np.pi * 60 * seconds * (1 + seconds))
    path = tmp_path / name
    kind = "OGG" if name.endswith(".opus") else None
    soundfile.write(
        path, samples, rate, subtype=subtype, format=kind, compression_level=compression
    )
    decoded, _ = soundfile.read(path, dtype="float32", always_2d=True)
    part = decoded[round(segment.start * rate) : round(segment.end * rate)]
    expected = AudioNormalizer(RATE)(torch.from_numpy(part), rate)
    torch.testing.assert_close(read(path, segment), expected, rtol=0, atol=1e-6)


def test_an_mp3_in_pieces_is_the_same_as_the_whole(tmp_path, monkeypatch):
    seconds = np.arange(7.2 * RATE) / RATE
    samples = 0.5 * np.sin(2 * np.pi * 60 * seconds * (1 + seconds))
    path = tmp_path / "a.mp3"
    soundfile.write(path, samples, RATE, compression_level=0.99)
    whole = read(path)
    monkeypatch.setattr(reading, "PIECE_SECONDS", 2)
    torch.testing.assert_close(read(path), whole, rtol=0, atol=1e-6)


def test_a_long_segment_in_pieces(tmp_path, monkeypatch):
    samples = speechlike(9, 24000)
    soundfile.write(tmp_path / "a.wav", samples, 24000, subtype="FLOAT")
    monkeypatch.setattr(reading, "PIECE_SECONDS", 2)
    for segment in (Segment(0.5, 3.5), Segment(1, 7.25), Segment(2, 4)):
        part = samples[round(segment.start * 24000) : round(segment.end * 24000)]
        whole = AudioNormalizer(RATE)(torch.from_numpy(part), 24000)
        found = read(tmp_path / "a.wav", segment)
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-6)


def test_a_segment_beyond_the_end(tmp_path):
    soundfile.write(tmp_path / "a.wav", speechlike(2, RATE), RATE)
    assert len(read(tmp_path / "a.wav", Segment(1, 2.05))) == RATE  # rounding
    for segment in (Segment(1, 2.2), Segment(2, 2.05), Segment(7, 8)):
        with pytest.raises(UtteranceError, match=r"segment beyond the end: .* has 2\.0000 s"):
            read(tmp_path / "a.wav", segment)


def test_a_place_that_cannot_be_reached(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, speechlike(5, RATE), RATE)
    with open_recording(str(path)) as recording:
        os.truncate(path, 1000)
        with pytest.raises(UtteranceError, match=r"not audio: .*a\.flac: "):
            recording.go_to(4 * RATE)


def test_eight_channels_are_mixed(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "BLOCK_NUMBERS", 1000)
    samples = speechlike(3, 44100, 8)
    soundfile.write(tmp_path / "a.wav", samples, 44100, subtype="FLOAT")
    expected = AudioNormalizer(RATE)(torch.from_numpy(samples), 44100)
    torch.testing.assert_close(read(tmp_path / "a.wav"), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["wav", "float.wav", "flac", "mp3", "ogg"])
@pytest.mark.parametrize("rate", [RATE, 44100])
def test_the_first_channel_alone(tmp_path, monkeypatch, kind, rate):
    path = tmp_path / f"a.{kind}"
    left, right = speechlike(7.3, rate), speechlike(7.3, rate)[::-1]
    subtype = "FLOAT" if "float" in kind else None
    soundfile.write(path, np.concatenate([left, right], 1), rate, subtype)
    decoded, _ = soundfile.read(path, dtype="float32")
    expected = torch.from_numpy(decoded[:, 0].copy())
    if rate != RATE:
        expected = torchaudio.transforms.Resample(rate, RATE)(expected)
    (member,) = PACKERS["tar"]([path], tmp_path / "all.tar")
    monkeypatch.setattr(recording, "BLOCK_NUMBERS", 5000)
    for piece_seconds in (60, 2):
        monkeypatch.setattr(reading, "PIECE_SECONDS", piece_seconds)
        for name in (str(path), member):
            found = read_signal(name, Normalizer(RATE), channels="first")
            torch.testing.assert_close(found.samples, expected, rtol=0, atol=1e-6)
            segment = read_signal(name, Normalizer(RATE), Segment(1, 6), channels="first")
            margin = RATE // 10
            torch.testing.assert_close(
                segment.samples[margin:-margin],
                expected[RATE + margin : 6 * RATE - margin],
                rtol=0,
                atol=1e-6,
            )
    mean = read_signal(str(path), Normalizer(RATE)).samples
    assert (mean - expected).abs().max() > 0.1


def test_a_header_that_states_days(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, speechlike(2, RATE), RATE)
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    with pytest.raises(UtteranceError, match=r"too long: .* has 1193\.0 hours, more than 12; make"):
        read(path)
    assert torch.equal(read(path, Segment(0.5, 1.5)), read(path, Segment(0.5, 1.5)))
    with pytest.raises(UtteranceError, match="cut off"):
        read(path, Segment(1.5, 2.5))


def test_the_limit_of_hours_holds_without_a_stated_length(tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    soundfile.write(path, speechlike(8, RATE), RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    monkeypatch.setattr(reading, "PIECE_SECONDS", 1)
    monkeypatch.setattr(reading, "MAX_HOURS", 4 / 3600)
    with pytest.raises(UtteranceError, match="too long"):
        read(path)


def test_a_rate_that_no_recording_has(tmp_path):
    soundfile.write(tmp_path / "a.wav", speechlike(1, RATE), 1_000_000)
    with pytest.raises(UtteranceError, match=r"not audio: .* a sampling rate of 1000000 Hz"):
        read(tmp_path / "a.wav")
    assert durations([str(tmp_path / "a.wav")]) == [0.0]


@pytest.mark.parametrize(
    ("number", "raised"),
    [
        (errno.EMFILE, OSError),
        (errno.EIO, OSError),
        (errno.ESTALE, OSError),
        (errno.EACCES, UtteranceError),
    ],
)
def test_an_error_of_the_system_keeps_its_message(tmp_path, monkeypatch, number, raised):
    (tmp_path / "a.wav").write_bytes(b"rubbish")

    def refuse(path):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(io, "FileIO", refuse)
    with pytest.raises(raised, match=os.strerror(number)) as caught:
        read(tmp_path / "a.wav")
    assert caught.value.__cause__ is not caught.value


def test_an_input_error_in_the_middle_of_a_file_keeps_its_message(tmp_path, monkeypatch):
    class File(io.FileIO):
        def read(self, size=-1):
            if self.tell() > 4000:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return super().read(size)

    path = tmp_path / "a.mp3"
    soundfile.write(path, speechlike(3, RATE), RATE)
    path.write_bytes(path.read_bytes()[:8000])
    monkeypatch.setattr(io, "FileIO", File)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        read(path)


def test_a_lack_of_memory_is_a_memory_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise soundfile.LibsndfileError(17)

    soundfile.write(tmp_path / "a.wav", speechlike(1, RATE), RATE)
    monkeypatch.setattr(soundfile.SoundFile, "__init__", refuse)
    monkeypatch.setattr(soundfile.SoundFile, "__del__", lambda _: None)
    with pytest.raises(MemoryError):
        read(tmp_path / "a.wav")
