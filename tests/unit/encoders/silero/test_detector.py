from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from xvectors.config import toolkits
from xvectors.config.toolkits import missing_packages

if missing_packages("silero"):
    pytest.skip("silero-vad is not installed: make silero", allow_module_level=True)

from tests.support.checkout import DEMO
from tests.support.silero_package import find_speech, join_speech, load_model
from xvectors.audio.reading import read_signal
from xvectors.audio.resampling import Normalizer
from xvectors.audio.signal import Segment, Signal
from xvectors.encoders.encoder import load_encoder
from xvectors.encoders.silero.detector import SileroDetector
from xvectors.errors import EncoderError, UtteranceError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.load:DeprecationWarning")
RATE = 16000


@pytest.fixture(scope="module")
def detector() -> SileroDetector:
    return SileroDetector()


@pytest.fixture(scope="module")
def package():
    with pytest.warns(DeprecationWarning):
        return load_model()


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[Path]:
    """Speech of several voices with pauses, at several rates, mono and stereo, also quiet."""
    folder = tmp_path_factory.mktemp("speech")
    made = []
    for voice, stem in (("alba", "alba_03"), ("dmitri", "dmitri_03"), ("grace", "grace_04")):
        (source,) = (DEMO / "wav" / voice).glob(f"{stem}.*")
        speech, rate = soundfile.read(source, dtype="float32")
        pause = np.random.default_rng(0).normal(0, 1e-3, rate).astype("float32")
        samples = np.concatenate([pause, speech, pause[: rate // 3], speech[: rate // 2], pause])
        stereo = np.stack([samples, 0.3 * samples], axis=1)
        for new_rate in (8000, 16000, 22050, 44100, 48000):
            # Played faster or slower, it is another voice.
            path = folder / f"{stem}_{new_rate}.wav"
            soundfile.write(path, stereo if new_rate > 16000 else samples, new_rate)
            made.append(path)
        made.append(source)
        soundfile.write(folder / f"{stem}_quiet.flac", samples * 0.01, rate)
        made.append(folder / f"{stem}_quiet.flac")
    return made


def test_speech_is_what_the_package_finds(detector, package, paths):
    normalizer = Normalizer(RATE)
    n_parts = []
    for path in paths:
        signal = read_signal(str(path), normalizer)
        expected = find_speech(package, signal.samples)
        assert detector.find(signal.samples, RATE) == expected, path
        n_parts.append(len(expected))
    assert max(n_parts) > 1
    assert min(n_parts) < 2


def test_speech_at_another_rate(detector, package, paths):
    for path in paths:
        signal = read_signal(str(path), Normalizer(24000))
        heard = Normalizer(RATE)(signal.samples[:, None], 24000)
        expected = [(s * 1.5, e * 1.5) for s, e in find_speech(package, heard)]
        found = detector.find(signal.samples, 24000)
        assert np.allclose(found, expected, atol=0.5) or found == expected


@pytest.mark.parametrize("noise", [0, 0.01])
def test_a_file_without_speech(detector, noise):
    samples = torch.from_numpy(np.random.default_rng(0).normal(0, 1, RATE).astype("float32"))
    with pytest.raises(UtteranceError, match=r"no speech: a\.wav"):
        detector.keep_speech(Signal(samples * noise, RATE), "a.wav")


def test_an_encoder_embeds_the_speech_alone(detector, package, paths, demo_encoder, tmp_path):
    plain = load_encoder("speechbrain", demo_encoder, "cpu", "fp32")
    encoder = load_encoder("speechbrain", demo_encoder, "cpu", "fp32")
    # As on a GPU, where signals are resampled together after they were read.
    encoder.normalizer.together = True
    encoder.embed_speech_alone(detector)
    path = str(paths[2])
    segment = Segment(0.5, 2.75)
    for part in (None, segment):
        whole = plain.read(path, part)
        speech = join_speech(package, whole.samples)
        signal = encoder.read(path, part)
        assert torch.equal(signal.samples, speech)
        assert signal.decoded.seconds == whole.decoded.seconds
        assert signal.decoded.speech_seconds == len(speech) / RATE
        assert 0 < signal.decoded.speech_seconds < signal.decoded.seconds
        assert torch.equal(encoder.embed([signal]), plain.embed([speech]))
    assert whole.decoded.speech_seconds is None


def test_a_package_that_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "silero.txt").write_text("not-there==1.0\n")
    monkeypatch.setattr(toolkits, "ENVS", tmp_path)
    with pytest.raises(EncoderError, match=r"silero needs .* \(not-there\): pip install"):
        SileroDetector()


def test_the_number_of_threads_stays(detector):
    before = torch.get_num_threads()
    assert SileroDetector().find(torch.zeros(RATE), RATE) == []
    assert torch.get_num_threads() == before
