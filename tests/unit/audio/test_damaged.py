"""Files that are cut off, damaged, misnamed, concatenated, or silent."""

import io
import struct

import numpy as np
import pytest
import soundfile
import torch

from tests.support.encoded_audio import encode
from tests.support.m4a import write_m4a
from xvectors.audio.opening import durations
from xvectors.audio.reading import read_signal
from xvectors.audio.resampling import Normalizer
from xvectors.audio.signal import Segment
from xvectors.errors import UtteranceError

RATE = 16000
SECONDS = 4
normalizer = Normalizer(RATE)


def speechlike(seconds: float = SECONDS, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (int(seconds * rate), 1)).astype("float32")


def read(path, segment=None):
    return read_signal(str(path), normalizer, segment)


def sound_file(kind: str, subtype: str | None = None, seconds: float = SECONDS) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, speechlike(seconds), RATE, subtype, format=kind)
    return file.getvalue()


def encoded(kind: str, codec: str, *, is_pipe: bool = False, bit_rate: int = 64000) -> bytes:
    return encode(speechlike(), RATE, kind, codec, is_pipe=is_pipe, bit_rate=bit_rate)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "W64", "RF64", "NIST", "AU", "CAF", "FLAC", "MP3"])
@pytest.mark.parametrize("suffix", [".wav", ".x"])
def test_a_download_that_stopped(tmp_path, kind, suffix):
    path = tmp_path / f"a{suffix}"
    content = sound_file(kind)
    path.write_bytes(content)
    assert read(path).decoded.seconds == pytest.approx(SECONDS, abs=0.2)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UtteranceError, match=r"cut off: |not audio: .*lost sync"):
        read(path)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("part", [0.3, 0.5, 0.99])
def test_ogg_that_is_cut_off(tmp_path, subtype, part):
    content = sound_file("OGG", subtype)
    path = tmp_path / "a.ogg"
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(UtteranceError, match="cut off: "):
        read(path)
    # At the end of a page, too.
    path.write_bytes(content[: content.rindex(b"OggS")])
    with pytest.raises(UtteranceError, match="cut off: "):
        read(path)


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_length_that_was_never_written(tmp_path, length):
    content = bytearray(sound_file("WAV"))
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", length)
    content[4:8] = struct.pack("<I", 0 if length == 0 else 0xFFFFFFFF)
    (tmp_path / "a.wav").write_bytes(content)
    signal = read(tmp_path / "a.wav")
    assert signal.decoded.seconds == SECONDS
    soundfile.write(tmp_path / "b.wav", speechlike(), RATE)
    assert torch.equal(signal.samples, read(tmp_path / "b.wav").samples)
    assert durations([str(tmp_path / "a.wav")]) == [SECONDS]


def test_an_empty_file_with_further_chunks_holds_no_sound(tmp_path):
    list_chunk = b"LIST\x0e\0\0\0INFOISFT\2\0\0\0ab"
    content = b"WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    content += b"data\0\0\0\0" + list_chunk
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(content)) + content)
    with pytest.raises(UtteranceError, match="zero samples"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("bit_rate", [32000, 64000])
def test_mp3_without_a_stated_length(tmp_path, bit_rate):
    path = tmp_path / "a.mp3"
    path.write_bytes(encoded("mp3", "libmp3lame", is_pipe=True, bit_rate=bit_rate))
    assert read(path).decoded.seconds == pytest.approx(SECONDS, abs=0.2)
    assert durations([str(path)]) == [pytest.approx(read(path).decoded.seconds, abs=0.1)]


def test_mp3_of_variable_bit_rate_without_a_stated_length(tmp_path):
    """Soft frames are small, so that a length after the first frame's bit rate is wrong."""
    path = tmp_path / "a.mp3"
    soft, loud = (encoded("mp3", "libmp3lame", is_pipe=True, bit_rate=r) for r in (32000, 160000))
    path.write_bytes(loud + soft)
    assert read(path).decoded.seconds == pytest.approx(2 * SECONDS, abs=0.3)
    path.write_bytes(soft + loud)
    assert read(path).decoded.seconds == pytest.approx(2 * SECONDS, abs=0.3)


def test_files_one_after_the_other(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(2 * sound_file("MP3"))
    assert read(path).decoded.seconds == pytest.approx(2 * SECONDS, abs=0.3)
    for subtype in ("VORBIS", "OPUS"):
        path.write_bytes(sound_file("OGG", subtype) + sound_file("OGG", subtype))
        assert read(path).decoded.seconds == pytest.approx(2 * SECONDS, abs=0.05)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", None)],
)
def test_zeros_in_the_middle(tmp_path, kind, subtype):
    content = bytearray(sound_file(kind, subtype))
    middle = len(content) // 2
    content[middle : middle + 600] = bytes(600)
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UtteranceError, match=r"damaged|not audio|cut off"):
        read(tmp_path / "a")


def test_zeros_in_the_middle_of_bare_aac(tmp_path):
    write_m4a(tmp_path / "a.aac", speechlike(), RATE)
    content = bytearray((tmp_path / "a.aac").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 600] = bytes(600)
    (tmp_path / "a.aac").write_bytes(content)
    with pytest.raises(UtteranceError, match="damaged"):
        read(tmp_path / "a.aac")


def test_the_content_decides_and_not_the_name(tmp_path):
    soundfile.write(tmp_path / "b.wav", speechlike(), RATE)
    expected = read(tmp_path / "b.wav").samples
    for name in ("a.m4a", "a.raw", "a.mp3", "a.WAV", "a"):
        (tmp_path / name).write_bytes(sound_file("WAV"))
        assert torch.equal(read(tmp_path / name).samples, expected)
    write_m4a(tmp_path / "a.m4a", speechlike(), RATE)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.m4a").read_bytes())
    assert read(tmp_path / "a.wav").decoded.seconds == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize(
    ("kind", "codec"), [("webm", "libopus"), ("asf", "wmav2"), ("mp4", "aac"), ("matroska", "flac")]
)
def test_what_only_ffmpeg_reads(tmp_path, kind, codec):
    content = encoded(kind, codec)
    (tmp_path / "a").write_bytes(content)
    signal = read(tmp_path / "a")
    assert signal.decoded.seconds == pytest.approx(SECONDS, abs=0.2)
    assert signal.rate == RATE
    # FFmpeg gives various reasons, including input/output errors.
    for place in (40, 100, 300, 600, 700, 1000, len(content) // 3, len(content) // 2):
        (tmp_path / "a").write_bytes(content[:place])
        with pytest.raises(UtteranceError, match=r"cut off|damaged|not audio|zero samples"):
            read(tmp_path / "a")


def test_segments_of_opus_are_the_segments_of_the_whole(tmp_path):
    (tmp_path / "a.opus").write_bytes(sound_file("OGG", "OPUS", 20))
    whole = read(tmp_path / "a.opus").samples
    for start, end in ((0, 2), (12.5, 14), (3, 6.25), (19, 20)):
        part = whole[int(start * RATE) : int(end * RATE)]
        assert torch.equal(read(tmp_path / "a.opus", Segment(start, end)).samples, part)


def test_channels_of_opposite_sign_are_silent(tmp_path):
    samples = speechlike()
    soundfile.write(tmp_path / "a.wav", np.concatenate([samples, -samples], 1), RATE, "FLOAT")
    soundfile.write(tmp_path / "b.wav", samples, RATE)
    assert read(tmp_path / "a.wav").decoded.is_silent
    assert not read(tmp_path / "b.wav").decoded.is_silent


@pytest.mark.parametrize("length", [-1, -(2**63), 2**47, 2**63 - 1])
def test_a_chunk_that_ends_beyond_all_files(tmp_path, length):
    content = sound_file("CAF")
    place = content.index(b"free") + 4
    (tmp_path / "a.caf").write_bytes(
        content[:place] + struct.pack(">q", length) + content[place + 8 :]
    )
    with pytest.raises(UtteranceError):
        read(tmp_path / "a.caf")


@pytest.mark.parametrize("seconds", [0.15, 0.3, 1])
@pytest.mark.parametrize(("kind", "codec"), [("adts", "aac"), ("mp3", "libmp3lame")])
def test_short_files_without_a_container(tmp_path, kind, codec, seconds):
    """A short file ends soon, so that what looks like a frame may seem to reach its end."""
    for seed in range(20):
        samples = np.random.default_rng(seed).normal(0, 0.1, (int(seconds * RATE), 1))
        (tmp_path / "a").write_bytes(encode(samples, RATE, kind, codec))
        assert read(tmp_path / "a").decoded.seconds == pytest.approx(seconds, abs=0.25)


@pytest.mark.parametrize(
    ("kind", "codec", "rate"),
    [
        ("wv", "wavpack", RATE),
        ("tta", "tta", RATE),
        ("mov", "aac", RATE),
        ("mpegts", "aac", RATE),
        ("mpegts", "mp2", RATE),
        ("vob", "mp2", RATE),
        ("flv", "libmp3lame", 22050),
        ("avi", "libmp3lame", RATE),
        ("caf", "pcm_s16le", RATE),
    ],
)
def test_containers_are_not_taken_for_frames(tmp_path, kind, codec, rate):
    for seconds in (0.3, 5):
        for seed in range(5):
            samples = np.random.default_rng(seed).normal(0, 0.1, (int(seconds * rate), 1))
            (tmp_path / "a").write_bytes(encode(samples, rate, kind, codec))
            assert read(tmp_path / "a").decoded.seconds == pytest.approx(seconds, abs=0.25)
