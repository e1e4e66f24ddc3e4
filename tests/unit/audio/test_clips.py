import io

import numpy as np
import pytest
import soundfile

from tests.support.containers import PACKERS
from xvectors.audio.clips import CLIP_RATE, CLIP_SECONDS, encode_clip
from xvectors.audio.signal import Segment
from xvectors.errors import UtteranceError

# An encoder and its decoder delay a sound by less.
TOLERANCE_SECONDS = 0.15


def write_tones(path, rate, tones, channels=1):
    """Write a second of each tone, in Hz."""
    times = np.arange(rate) / rate
    sound = np.concatenate([0.3 * np.sin(2 * np.pi * tone * times) for tone in tones])
    soundfile.write(path, np.repeat(sound[:, None], channels, axis=1), rate)


def decoded(clip):
    sound, rate = soundfile.read(io.BytesIO(clip))
    assert rate == CLIP_RATE
    assert sound.ndim == 1
    return sound


def tone_of(sound):
    """The loudest frequency in Hz."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return spectrum.argmax() * CLIP_RATE / len(sound)


@pytest.mark.parametrize(
    ("rate", "channels"), [(8000, 1), (16000, 1), (22051, 1), (44100, 2), (96000, 1)]
)
def test_a_clip_sounds_like_its_file(tmp_path, rate, channels):
    write_tones(tmp_path / "a.wav", rate, [440, 440], channels)
    sound = decoded(encode_clip(str(tmp_path / "a.wav")))
    assert len(sound) / CLIP_RATE == pytest.approx(2, abs=TOLERANCE_SECONDS)
    assert tone_of(sound) == pytest.approx(440, abs=2)
    assert np.abs(sound).max() == pytest.approx(0.3, abs=0.05)


def test_a_clip_is_the_beginning_of_its_segment(tmp_path):
    write_tones(tmp_path / "a.flac", 16000, [200, 600, 900])
    sound = decoded(encode_clip(str(tmp_path / "a.flac"), Segment(1.0, 1.9)))
    assert len(sound) / CLIP_RATE == pytest.approx(0.9, abs=TOLERANCE_SECONDS)
    assert tone_of(sound) == pytest.approx(600, abs=3)


def test_a_clip_of_a_long_member_of_a_container_is_short(tmp_path):
    write_tones(tmp_path / "a.wav", 16000, [500] * (CLIP_SECONDS + 4))
    (member,) = PACKERS["tar"]([tmp_path / "a.wav"], tmp_path / "a.tar")
    clip = encode_clip(member)
    assert len(decoded(clip)) / CLIP_RATE == pytest.approx(CLIP_SECONDS, abs=TOLERANCE_SECONDS)
    assert len(clip) < 50_000


@pytest.mark.parametrize("content", [None, b"", b"no sound at all"])
def test_what_is_not_audio_is_refused(tmp_path, content):
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UtteranceError, match=r"a\.wav"):
        encode_clip(str(path))
