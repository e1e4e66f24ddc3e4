import numpy as np
import pytest
import soundfile

from tests.support.containers import PACKERS
from xvectors.audio.measuring import measure
from xvectors.audio.opening import durations
from xvectors.audio.recording import Recording

RATE = 16000


def noise(seconds: float, channels: int = 1) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.normal(0, 0.1, (round(seconds * RATE), channels))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_durations_of_several_formats(tmp_path, suffix):
    path = str(tmp_path / f"a.{suffix}")
    soundfile.write(path, noise(1.5, channels=2), RATE)
    assert measure([path]) == pytest.approx([1.5], abs=0.1)
    assert measure([path]) == pytest.approx(durations([path]), abs=1e-3)


@pytest.mark.parametrize("kind", ["files", *PACKERS])
def test_a_length_in_bytes_needs_no_decoding(tmp_path, monkeypatch, kind):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(1.5), RATE)
    members = [str(path)] if kind == "files" else PACKERS[kind]([path], tmp_path / "all")
    monkeypatch.setattr(
        "xvectors.audio.sndfile.SndfileRecording.read", lambda *_: pytest.fail("decoded")
    )
    assert measure(members) == durations(members) == [1.5]


@pytest.mark.parametrize("kind", PACKERS)
def test_members_whose_headers_are_wrong_are_decoded(tmp_path, kind):
    """FLAC that states a second too much, or too little, before more FLAC."""
    paths = []
    for name, stated in (("long", 3), ("right", 2), ("short", 1)):
        paths.append(tmp_path / f"{name}.flac")
        soundfile.write(paths[-1], noise(2), RATE)
        content = paths[-1].read_bytes()
        fields = int.from_bytes(content[18:26], "big") >> 36 << 36 | stated * RATE
        paths[-1].write_bytes(content[:18] + fields.to_bytes(8, "big") + content[26:])
    members = PACKERS[kind](paths, tmp_path / "all")
    # Only the header tells where FLAC in an archive of Kaldi's ends.
    expected = [None, 2, 1] if kind == "ark" else [None, 2, 2]
    assert measure(members) == expected


@pytest.mark.parametrize("stated_frames", [3, 3000])
def test_a_header_that_states_another_duration_is_not_believed(tmp_path, stated_frames):
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(3), RATE)
    content = bytearray(path.read_bytes())
    # Behind the tag's name and its flags is the number of frames.
    number = max(content.find(b"Xing"), content.find(b"Info")) + 8
    content[number : number + 4] = stated_frames.to_bytes(4)
    path.write_bytes(content)
    assert abs(durations([str(path)])[0] - 3) > 1
    # More frames are stated than there are: the file was cut off.
    expected = 3 if stated_frames == 3 else None
    assert measure([str(path)]) == [pytest.approx(expected, abs=0.1)]


def test_a_file_that_cannot_be_read_as_a_whole_has_no_duration(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(2), RATE)
    soundfile.write(tmp_path / "b.flac", noise(2), RATE)
    soundfile.write(tmp_path / "empty.wav", noise(0), RATE)
    for name in ("a.wav", "b.flac"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    (tmp_path / "c.wav").write_bytes(b"rubbish")
    names = ("a.wav", "b.flac", "c.wav", "none.wav", "empty.wav")
    assert measure([str(tmp_path / name) for name in names]) == [None, None, None, None, 0.0]


def test_the_length_of_a_recording_is_uncertain_by_default():
    assert not Recording.is_length_certain
