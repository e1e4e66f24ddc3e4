"""FLAC whose header states another number of samples than the file holds."""

import io

import av
import numpy as np
import pytest
import soundfile
import torch

from tests.support.containers import PACKERS
from tests.support.encoded_audio import encode
from xvectors.audio import flac
from xvectors.audio.flac import HEAD_BYTES, RestatedFile, stated_length, with_true_length
from xvectors.audio.measuring import measure
from xvectors.audio.opening import durations, open_recording
from xvectors.audio.reading import read_signal
from xvectors.audio.resampling import Normalizer
from xvectors.audio.signal import Segment
from xvectors.errors import UtteranceError

RATE = 16000
SECONDS = 5
N_SAMPLES = SECONDS * RATE
normalizer = Normalizer(RATE)
ID3V1 = b"TAG" + b"x" * 125
# What may lie behind the last frame. FLAC's mark of a frame is in the last one.
ENDINGS = [b"", ID3V1, bytes(5000), b"APETAGEX" + b"\xff\xf8\xc9\x18\0\xc2" * 2000 + ID3V1]


def noise(n_samples: int = N_SAMPLES, channels: int = 1) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.normal(0, 0.1, (n_samples, channels)).astype("float32")


def encoded(samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format="FLAC")
    return file.getvalue()


def restate(content: bytes, n_samples: int) -> bytes:
    """Return FLAC with another number of samples in its STREAMINFO."""
    fields = int.from_bytes(content[18:26], "big") >> 36 << 36 | n_samples
    return content[:18] + fields.to_bytes(8, "big") + content[26:]


def read(path, segment=None):
    return read_signal(str(path), normalizer, segment)


def by_ffmpeg(content: bytes) -> np.ndarray:
    with av.open(io.BytesIO(content)) as container:
        frames = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    return np.concatenate(frames) * np.float32(2**-15)


@pytest.mark.parametrize("ending", ENDINGS, ids=len)
@pytest.mark.parametrize("stated", [1, 4096, 2 * RATE, N_SAMPLES - 1])
def test_a_header_that_states_fewer_samples(tmp_path, stated, ending):
    content = restate(encoded(noise()), stated)
    expected = torch.from_numpy(by_ffmpeg(content))
    assert len(expected) == N_SAMPLES
    path = tmp_path / "a.flac"
    path.write_bytes(content + ending)
    signal = read(path)
    assert torch.equal(signal.samples, expected)
    assert signal.decoded.seconds == SECONDS
    assert torch.equal(read(path, Segment(3.5, 5)).samples, expected[-3 * RATE // 2 :])
    assert measure([str(path)]) == [SECONDS]
    with pytest.raises(UtteranceError, match=r"segment beyond the end: .* has 5\.0000 s"):
        read(path, Segment(3.5, 6))
    # The rules that divide the work look at headers alone.
    assert durations([str(path)]) == [stated / RATE]


@pytest.mark.parametrize("ending", ENDINGS, ids=len)
def test_a_right_header_is_left_alone(tmp_path, ending):
    content = encoded(noise()) + ending
    (tmp_path / "a.flac").write_bytes(content)
    file = io.BytesIO(content)
    assert with_true_length(file) is file
    assert torch.equal(read(tmp_path / "a.flac").samples, torch.from_numpy(by_ffmpeg(content)))


@pytest.mark.parametrize("stated", [0, N_SAMPLES + 1, 2 * N_SAMPLES])
def test_so_is_one_that_states_more_or_nothing(stated):
    file = io.BytesIO(restate(encoded(noise()), stated))
    assert with_true_length(file) is file


@pytest.mark.parametrize("n_samples", [100, 4095, 4096, 4097, 8192, 10_000])
@pytest.mark.parametrize(("channels", "rate"), [(1, 8000), (2, 44100), (3, 12345), (8, 96000)])
def test_ends_of_short_files(n_samples, channels, rate):
    content = encoded(noise(n_samples, channels), rate, "PCM_24")
    file = io.BytesIO(content)
    assert with_true_length(file) is file
    restated = with_true_length(io.BytesIO(restate(content, n_samples - 1)))
    assert restated.read(HEAD_BYTES) == content[:HEAD_BYTES]


@pytest.mark.parametrize("n_samples", [3000, 4608, 100_000])
def test_files_of_ffmpegs_encoder(n_samples):
    content = encode(noise(n_samples), RATE, "flac", "flac")
    file = io.BytesIO(content)
    assert with_true_length(file) is file
    restated = with_true_length(io.BytesIO(restate(content, 1000)))
    assert restated.read() == content


def test_numbers_of_samples_in_frames_of_any_size():
    """Frames that state their first sample, as encoders with blocks of several sizes write."""
    frames = b""
    ends = [2**30, 2**30 + 300, 2**30 + 492]
    for start, size in zip(ends, (b"\x70", b"\x10"), strict=False):
        rest = (0x80 | start >> 6 * i & 63 for i in range(4, -1, -1))
        number = bytes([0xFC | start >> 30, *rest])
        size_bytes = (299).to_bytes(2, "big") if size == b"\x70" else b""
        head = b"\xff\xf9" + size + b"\x18" + number + size_bytes
        frames += head + bytes([flac.crc8(head)]) + b"\x12" * 50
    streaminfo = b"fLaC\x80\0\0\x22" + bytes(34)
    content = restate(streaminfo, 7) + frames
    head = with_true_length(io.BytesIO(content)).read(HEAD_BYTES)
    assert head == restate(streaminfo, ends[-1])
    # A wrong checksum, and a frame that does not follow the other.
    wrong_checksum = frames[:12] + b"\0" + frames[13:]
    same_frame_twice = frames[: 13 + 50] * 2
    for broken in (wrong_checksum, same_frame_twice):
        file = io.BytesIO(restate(streaminfo, 7) + broken)
        assert with_true_length(file) is file


def test_a_checksum_is_that_of_the_format():
    """The check value of CRC-8 (polynomial 7, from 0), in catalogues of checksums."""
    assert flac.crc8(b"123456789") == 0xF4


def test_damage_is_still_found(tmp_path):
    content = bytearray(restate(encoded(noise()), RATE))
    middle = len(content) // 2
    content[middle : middle + 600] = bytes(600)
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(UtteranceError, match=r"not audio: .*a\.flac: "):
        read(tmp_path / "a.flac")


def test_members_of_containers(tmp_path):
    path, next_path = tmp_path / "a.flac", tmp_path / "b.flac"
    path.write_bytes(restate(encoded(noise()), RATE))
    next_path.write_bytes(encoded(noise(7 * RATE)))
    for kind in ("tar", "parquet"):
        member, _ = PACKERS[kind]([path, next_path], tmp_path / f"all.{kind}")
        assert torch.equal(read(member).samples, read(path).samples)
    # In an archive that does not tell where it ends, the next one's frames are not its own.
    path.write_bytes(encoded(noise()))
    member, _ = PACKERS["ark"]([path, next_path], tmp_path / "all.ark")
    assert torch.equal(read(member).samples, read(path).samples)


@pytest.mark.parametrize("n_bytes", [3, 20, HEAD_BYTES, 100])
def test_a_file_that_ends_in_its_header(n_bytes):
    file = io.BytesIO(encoded(noise())[:n_bytes])
    assert with_true_length(file) is file


def test_a_restated_file_reads_and_closes_as_a_file(tmp_path):
    content = encoded(noise(1000))
    (tmp_path / "a.flac").write_bytes(restate(content, 1))
    with (tmp_path / "a.flac").open("rb", buffering=0) as file:
        restated = RestatedFile(file, restate(content, 1)[:HEAD_BYTES], 1000)
        for place in (0, 10, 20, 23, 25, 26, 100):
            assert restated.seek(place) == place
            assert restated.read(7) == content[place : place + 7]
            assert restated.tell() == place + 7
        assert restated.readable()
        assert restated.seekable()
        assert restated.seek(0, 2) == len(content)
        restated.close()
        assert file.closed
    with open_recording(str(tmp_path / "a.flac")) as recording:
        assert recording.n_samples == 1000


def test_the_length_that_a_header_states(tmp_path):
    head = encoded(noise(100))[:HEAD_BYTES]
    assert stated_length(head) == (100, RATE)
    assert stated_length(head[:-1]) is None
    assert stated_length(b"x" * HEAD_BYTES) is None
    assert stated_length(head[:18] + bytes(8) + head[26:]) is None
    path = tmp_path / "a.flac"
    path.write_bytes(head[:18] + b"\xff\xff\xf0" + head[21:])
    assert durations([str(path)]) == [0.0]
