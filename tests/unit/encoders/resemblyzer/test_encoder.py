import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from xvectors.config.toolkits import local_path, missing_packages

if missing_packages("resemblyzer"):
    pytest.skip("Resemblyzer is not installed: make resemblyzer", allow_module_level=True)

from tests.support.checkout import DEMO
from tests.support.closeness import assert_close
from tests.support.resemblyzer_package import embed_with_package
from tests.support.silero_package import detector_and_package, join_speech
from tests.support.toolkit_models import Trap
from xvectors.audio.reading import read_signal
from xvectors.audio.signal import Segment
from xvectors.encoders import mels
from xvectors.encoders.checkpoints import read_checkpoint
from xvectors.encoders.encoder import load_encoder
from xvectors.encoders.fetching import fetch_encoder
from xvectors.encoders.resemblyzer.encoder import ResemblyzerEncoder, window_starts
from xvectors.errors import EncoderError


@pytest.fixture(scope="module")
def encoder() -> ResemblyzerEncoder:
    return ResemblyzerEncoder(local_path("resemblyzer"), "cpu", "fp32")


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[Path]:
    """Files of many kinds: rates, channels, levels, pauses, lengths, and without speech."""
    folder = tmp_path_factory.mktemp("files")
    speech, rate = soundfile.read(DEMO / "wav" / "alba" / "alba_00.flac", dtype="float32")
    second, _ = soundfile.read(DEMO / "wav" / "clara" / "clara_02.flac", dtype="float32")
    pause = np.zeros(2 * rate, dtype="float32")
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * rate).astype("float32")
    made = {
        "quiet.wav": (speech * 0.003, rate),
        "loud.wav": (speech / abs(speech).max(), rate),
        "pauses.wav": (np.concatenate([pause, speech, pause, speech[::-1], pause]), rate),
        "stereo.wav": (np.stack([speech, speech[::-1]], axis=1), rate),
        "low.wav": (speech, 8000),
        "high.flac": (speech, 48000),
        "odd.wav": (speech, 44100),
        "stereo.mp3": (np.stack([speech, speech * 0.5], axis=1), 44100),
        "at_rate.wav": (speech, 16000),
        "short.wav": (speech[4000:8000], 16000),
        "shorter_than_a_frame.wav": (speech[:300], 16000),
        "one_sample.wav": (speech[5000:5001], 16000),
        "silence.wav": (pause, 16000),
        "noise.wav": (noise, 16000),
        "long.flac": (np.tile(np.concatenate([speech, second, pause]), 20), 22050),
    }
    for name, (samples, made_rate) in made.items():
        soundfile.write(folder / name, samples, made_rate)
    demo = sorted((DEMO / "wav").glob("*/*_0[0-1].*"))
    return [*(folder / name for name in made), *demo]


@pytest.fixture(scope="module")
def expected(paths, tmp_path_factory) -> torch.Tensor:
    """The package's own embeddings of the files."""
    if find_spec("librosa") is None:
        pytest.skip("librosa, which the package imports, is not installed: make espnet")
    output = tmp_path_factory.mktemp("package") / "embeddings.npy"
    return torch.from_numpy(embed_with_package(paths, output))


@pytest.fixture(scope="module")
def signals(encoder, paths) -> list:
    return [encoder.read(str(path)) for path in paths]


def test_embeddings_are_the_packages_own(encoder, signals, expected):
    assert expected.shape == (len(signals), 256)
    for one, other in zip(signals, expected, strict=True):
        assert_close(encoder.embed([one]), other[None])


@pytest.mark.parametrize("n_windows", [1, 7, 1000])
def test_companions_and_batches_do_not_matter(encoder, signals, expected, monkeypatch, n_windows):
    monkeypatch.setattr(encoder.budget, "limit", n_windows)
    assert_close(encoder.embed(signals), expected)
    assert_close(encoder.embed(signals[::-1]).flip(0), expected)


def test_spectra_in_chunks_equal_the_whole(encoder, signals, expected, monkeypatch):
    monkeypatch.setattr(mels, "CHUNK_FRAMES", 101)
    assert_close(encoder.embed(signals), expected)


def test_without_speech_there_is_the_embedding_of_silence(encoder, signals, paths):
    names = [path.name for path in paths]
    silent = [signals[names.index(name)] for name in ("silence.wav", "shorter_than_a_frame.wav")]
    assert [len(signal.samples) for signal in silent] == [0, 0]
    assert_close(encoder.embed(silent), encoder.embed([torch.zeros(16000)] * 2))


def test_the_speech_alone_is_embedded_as_the_package_embeds_it(paths, tmp_path):
    if find_spec("librosa") is None:
        pytest.skip("librosa, which the package imports, is not installed: make espnet")
    detector, package = detector_and_package()
    encoder = ResemblyzerEncoder(local_path("resemblyzer"), "cpu", "fp32")
    made = []
    for name in ("pauses.wav", "stereo.wav"):
        path = next(path for path in paths if path.name == name)
        heard = read_signal(str(path), encoder.normalizer).samples
        speech = join_speech(package, heard)
        assert 0 < len(speech) < len(heard)
        made.append((path, tmp_path / name))
        soundfile.write(tmp_path / name, speech, 16000, subtype="FLOAT")
    encoder.embed_speech_alone(detector)
    found = encoder.embed([encoder.read(str(path)) for path, _ in made])
    expected = embed_with_package([speech for _, speech in made], tmp_path / "embeddings.npy")
    assert_close(found, torch.from_numpy(expected))


def test_a_segment_is_prepared_alone(encoder, paths, tmp_path):
    path = next(path for path in paths if path.name == "odd.wav")
    samples, rate = soundfile.read(path, dtype="float32")
    soundfile.write(tmp_path / "part.wav", samples[rate // 2 : rate], rate, subtype="FLOAT")
    part = encoder.read(str(tmp_path / "part.wav"))
    assert torch.equal(encoder.read(str(path), Segment(0.5, 1)).samples, part.samples)


def test_windows_cover_a_signal():
    """By hand, for windows of 160 frames of 10 ms every 77 frames."""
    assert window_starts(0) == window_starts(16000) == window_starts(25600) == [0]
    # A second window from frame 77 on is 75 % covered from frame 197 on.
    assert window_starts(197 * 160 - 1) == [0]
    assert window_starts(197 * 160) == [0, 77]
    assert window_starts(10 * 16000) == [77 * i for i in range(12)]


def test_a_fetched_encoder_is_the_packages(encoder, signals, tmp_path):
    fetch_encoder("resemblyzer", tmp_path / "encoder" / "encoder.json")
    fetched = load_encoder("resemblyzer", tmp_path / "encoder", "cpu", "tf32")
    assert torch.equal(fetched.embed(signals[:3]), encoder.embed(signals[:3]))


def test_bf16_is_refused():
    with pytest.raises(EncoderError, match="resemblyzer has no bf16; use fp32 or tf32"):
        load_encoder("resemblyzer", local_path("resemblyzer"), "cpu", "bf16")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["model_state"], "no weights under `model_state`"),
        (lambda content: {"model_state": {"lstm.weight_ih_l0": torch.ones(1)}}, "Missing key"),
        (
            lambda content: {"model_state": content["model_state"] | {"similarity_weights": 1}},
            "Unexpected key",
        ),
        (list, "holds a list, not weights by name"),
    ],
)
def test_a_checkpoint_of_another_kind_is_a_one_line_error(tmp_path, change, message):
    content = read_checkpoint(local_path("resemblyzer"))
    torch.save(change(content), tmp_path / "bad.pt")
    assert_refused(tmp_path / "bad.pt", message)


def test_a_checkpoint_that_is_cut_off_or_holds_code(tmp_path):
    bad = Path(shutil.copy(local_path("resemblyzer"), tmp_path / "bad.pt"))
    bad.write_bytes(bad.read_bytes()[:100000])
    assert_refused(bad, "cannot be read as weights")
    torch.save({"model_state": Trap(tmp_path / "sprung")}, bad)
    assert_refused(bad, "refused because they may run code")
    assert not (tmp_path / "sprung").exists()
    bad.unlink()
    assert_refused(tmp_path, "0 .pt files where one is needed$")


def assert_refused(path, message):
    with pytest.raises(EncoderError, match=message) as error:
        ResemblyzerEncoder(path, "cpu", "fp32")
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1
