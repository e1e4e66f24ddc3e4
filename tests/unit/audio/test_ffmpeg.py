import av
import numpy as np
import pytest
import soundfile
import torch

from tests.support.m4a import write_m4a
from xvectors.audio import reading as signals
from xvectors.audio.opening import durations
from xvectors.audio.reading import read_signal
from xvectors.audio.resampling import Normalizer
from xvectors.audio.signal import Segment
from xvectors.errors import UtteranceError

RATE = 16000
normalizer = Normalizer(RATE)


def read(path, segment=None):
    return read_signal(str(path), normalizer, segment).samples


def sweep(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    times = np.arange(round(seconds * rate)) / rate
    signal = 0.3 * np.sin(2 * np.pi * 100 * times * (1 + times))
    return np.repeat(signal[:, None], channels, 1).astype("float32")


def test_alac_is_exact_and_no_sample_is_added(tmp_path):
    samples = sweep(3.3, RATE)
    # Of 16 bits, which the encoder keeps.
    samples = np.round(samples * 2**15) / 2**15
    write_m4a(tmp_path / "a.m4a", samples, RATE, "alac")
    assert torch.equal(read(tmp_path / "a.m4a"), torch.from_numpy(samples[:, 0].astype("float32")))
    assert durations([str(tmp_path / "a.m4a")]) == [3.3]


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (48000, 6)])
def test_aac_lies_where_its_source_does(tmp_path, rate, channels):
    samples = sweep(3.3, rate, channels)
    write_m4a(tmp_path / "a.m4a", samples, rate)
    expected = normalizer(torch.from_numpy(samples), rate)
    found = read(tmp_path / "a.m4a")
    # The last block is filled up, as FFmpeg decodes it.
    assert 0 <= len(found) - len(expected) <= 1024 * RATE / rate
    found, expected = (one[: min(len(found), len(expected))] for one in (found, expected))
    # The low-frequency channel of six has lost what is not low.
    assert (found - expected).square().mean() < 0.05 * expected.square().mean()


@pytest.mark.parametrize("codec", ["alac", "aac"])
def test_the_first_channel_alone(tmp_path, monkeypatch, codec):
    samples = np.concatenate([sweep(3.3, RATE), sweep(3.3, RATE)[::-1]], 1)
    write_m4a(tmp_path / "a.m4a", samples, RATE, codec)
    with av.open(str(tmp_path / "a.m4a")) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    first = torch.from_numpy(np.concatenate(frames, 1)[0])
    expected = first * 2.0**-31 if codec == "alac" else first
    for piece_seconds in (60, 2):
        monkeypatch.setattr(signals, "PIECE_SECONDS", piece_seconds)
        found = read_signal(str(tmp_path / "a.m4a"), normalizer, channels="first")
        assert torch.equal(found.samples, expected)
    segment = read_signal(str(tmp_path / "a.m4a"), normalizer, Segment(1, 3), channels="first")
    assert torch.equal(segment.samples, expected[RATE : 3 * RATE])


def test_bare_aac_does_not_state_its_length(tmp_path):
    write_m4a(tmp_path / "a.aac", sweep(3.3, RATE), RATE)
    (seconds,) = durations([str(tmp_path / "a.aac")])
    assert 3.3 <= seconds < 3.5  # It begins with what the encoder needs to start.
    assert len(read(tmp_path / "a.aac")) == round(seconds * RATE)


@pytest.mark.parametrize("segment", [Segment(0, 1.3), Segment(2.71828, 5.5), Segment(5, 7.2)])
def test_a_segment_equals_that_part_of_the_whole(tmp_path, segment):
    write_m4a(tmp_path / "a.m4a", sweep(7.2, RATE), RATE)
    whole = read(tmp_path / "a.m4a")
    part = whole[round(segment.start * RATE) : round(segment.end * RATE)]
    assert torch.equal(read(tmp_path / "a.m4a", segment), part)
    with pytest.raises(UtteranceError, match=r"segment beyond the end: .* has 7\.2000 s"):
        read(tmp_path / "a.m4a", Segment(5, 8))


def test_pieces_give_the_same_samples_as_the_whole(tmp_path, monkeypatch):
    write_m4a(tmp_path / "a.m4a", sweep(7.2, 44100), 44100)
    whole = read(tmp_path / "a.m4a")
    monkeypatch.setattr(signals, "PIECE_SECONDS", 2)
    torch.testing.assert_close(read(tmp_path / "a.m4a"), whole, rtol=0, atol=1e-6)


def test_a_file_that_is_cut_off(tmp_path):
    path = tmp_path / "a.m4a"
    write_m4a(path, sweep(7.2, RATE), RATE)
    content = path.read_bytes()
    # Its index stands at the end.
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UtteranceError, match=r"not audio: .*a\.m4a: "):
        read(path)
    assert durations([str(path)]) == [0.0]


def test_what_is_no_audio(tmp_path):
    (tmp_path / "b.m4a").touch()
    (tmp_path / "c.m4a").write_text("#EXTM3U\nhttp://localhost/a.wav\n")
    (tmp_path / "d.m4a").write_text("ffconcat version 1.0\nfile a.wav\n")
    soundfile.write(tmp_path / "a.wav", sweep(1, RATE), RATE)
    for name in ("b.m4a", "c.m4a", "d.m4a"):
        with pytest.raises(UtteranceError, match=rf"not audio: .*{name}: "):
            read(tmp_path / name)


def test_a_name_that_is_a_protocol_of_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_m4a(tmp_path / "a.m4a", sweep(1, RATE), RATE)
    (tmp_path / "concat:a.m4a").write_bytes(b"nothing")
    with pytest.raises(UtteranceError, match="not audio"):
        read("concat:a.m4a")
