import numpy as np
import pytest
import torch

from xvectors.config.toolkits import missing_packages

if missing_packages("rawnet"):
    pytest.skip("asteroid-filterbanks is not installed: make rawnet", allow_module_level=True)

from tests.support.closeness import assert_close
from tests.support.toolkit_models import Trap, make_rawnet_checkpoint, note_tf32, speech
from xvectors.encoders.device import has_bf16
from xvectors.encoders.encoder import load_encoder
from xvectors.encoders.rawnet.encoder import RawNetEncoder
from xvectors.errors import EncoderError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_rawnet_checkpoint(tmp_path_factory.mktemp("rawnet") / "model.pt")


@pytest.fixture(scope="module")
def encoder(checkpoint) -> RawNetEncoder:
    return load_encoder("rawnet", checkpoint, "cpu", "fp32")


@pytest.fixture(scope="module")
def signals() -> list[torch.Tensor]:
    lengths = [1, 100, 16000, 24001, 47999, 48000, 48005, 100000]
    return speech(lengths)


@torch.inference_mode()
def embed_as_the_recipe_does(encoder: RawNetEncoder, signal: torch.Tensor) -> torch.Tensor:
    """The recipe's own steps, in NumPy."""
    audio = signal.numpy()
    if len(audio) < 48000:
        audio = np.pad(audio, (0, 48000 - len(audio) + 1), "wrap")
    starts = np.linspace(0, len(audio) - 48000, num=10)
    windows = np.stack([audio[int(start) : int(start) + 48000] for start in starts])
    return encoder.network(torch.from_numpy(windows)).mean(0)


@pytest.mark.parametrize("n_windows", [1, 10, 1000])
def test_ten_windows_each_as_in_the_recipe(encoder, signals, monkeypatch, n_windows):
    expected = torch.stack([embed_as_the_recipe_does(encoder, signal) for signal in signals])
    monkeypatch.setattr(encoder.budget, "limit", n_windows)
    embeddings = encoder.embed(signals)
    assert embeddings.shape == expected.shape
    assert embeddings.dtype == torch.float32
    assert_close(embeddings, expected)
    assert_close(encoder.embed(signals[::-1]).flip(0), expected)


def test_a_folder_is_as_good_as_the_file(checkpoint, encoder, signals):
    again = RawNetEncoder(checkpoint.parent, "cpu", "fp32")
    assert torch.equal(again.embed(signals[-2:]), encoder.embed(signals[-2:]))


@pytest.mark.skipif(not has_bf16("cpu"), reason="this processor has no bf16")
def test_bf16_stays_close(checkpoint, encoder, signals):
    signals = [signal for signal in signals if len(signal) > 100]
    exact, rounded = encoder.embed(signals), RawNetEncoder(checkpoint, "cpu", "bf16").embed(signals)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(exact, rounded).min() >= 0.9999
    assert cosine(exact - exact.mean(0), rounded - rounded.mean(0)).min() >= 0.998


def test_tf32_is_for_the_frames_alone(checkpoint, signals, monkeypatch):
    encoder = RawNetEncoder(checkpoint, "cpu", "tf32")
    encoder.ragged = None  # as on a GPU
    noted = {
        name: note_tf32(monkeypatch, encoder.network, name)
        for name in ("features", "frames", "pool")
    }
    encoder.embed(signals)
    assert {name: set(found) for name, found in noted.items()} == {
        "features": {False},
        "frames": {True},
        "pool": {False},
    }


def test_the_form_for_gpus(checkpoint, encoder, signals, monkeypatch):
    expected = encoder.embed(signals)
    monkeypatch.setattr(encoder, "ragged", None)
    assert_close(encoder.embed(signals), expected)


def without(content, name):
    return {"model": {key: value for key, value in content["model"].items() if key != name}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["model"], "not a RawNet3 checkpoint, there are no weights under"),
        (lambda content: {"model": 3}, "not a RawNet3 checkpoint, there are no weights under"),
        (lambda content: [content], "holds a list, not weights by name"),
        (lambda content: {"model": {"a": torch.ones(1)}}, "not the weights of RawNet3"),
        (lambda content: without(content, "fc6.bias"), 'Missing key.* "fc6.bias"'),
        (lambda content: {"model": content["model"] | {"x": torch.ones(1)}}, "Unexpected key"),
        (
            lambda content: {"model": content["model"] | {"bn5.weight": torch.ones(3)}},
            "size mismatch for bn5.weight",
        ),
        (lambda content: {"model": content["model"] | {"bn5.weight": "1"}}, "bn5.weight"),
    ],
)
def test_a_checkpoint_of_another_kind_is_a_one_line_error(checkpoint, tmp_path, change, message):
    bad = tmp_path / "bad.pt"
    torch.save(change(torch.load(checkpoint, weights_only=True)), bad)
    assert_refused(bad, message)


def test_a_checkpoint_that_is_cut_off(checkpoint, tmp_path):
    content = checkpoint.read_bytes()
    for n_bytes in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "bad.pt").write_bytes(content[:n_bytes])
        assert_refused(tmp_path / "bad.pt", "cannot be read as weights")


@pytest.mark.parametrize("as_zip", [True, False])
def test_code_in_a_checkpoint_is_not_run(checkpoint, tmp_path, as_zip):
    content = torch.load(checkpoint, weights_only=True) | {"trap": Trap(tmp_path / "sprung")}
    torch.save(content, tmp_path / "bad.pt", _use_new_zipfile_serialization=as_zip)
    assert_refused(tmp_path / "bad.pt", "refused because they may run code")
    assert not (tmp_path / "sprung").exists()


def test_a_folder_with_two_checkpoints(tmp_path):
    (tmp_path / "a.pt").touch()
    (tmp_path / "b.pt").touch()
    with pytest.raises(EncoderError, match=r"2 .pt files where one is needed"):
        RawNetEncoder(tmp_path, "cpu", "fp32")


def assert_refused(path, message):
    with pytest.raises(EncoderError, match=message) as error:
        RawNetEncoder(path, "cpu", "fp32")
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1
