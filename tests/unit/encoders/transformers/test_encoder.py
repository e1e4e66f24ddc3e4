import json

import pytest
import torch

from xvectors.config.toolkits import missing_packages

if missing_packages("transformers"):
    pytest.skip("transformers is not installed: make transformers", allow_module_level=True)

import soundfile
from safetensors.torch import load_file, save_file

from tests.support.closeness import assert_close
from tests.support.toolkit_models import Trap, speech
from tests.support.transformers_models import WAYS, embed_alone, make_encoder
from xvectors.encoders.encoder import load_encoder
from xvectors.encoders.fetching import fetch_encoder
from xvectors.encoders.transformers import encoder as encoder_module
from xvectors.encoders.transformers.encoder import TransformersEncoder
from xvectors.errors import EncoderError, UtteranceError

LENGTHS = [16000, 8000, 16000, 16001, 16000, 30007, 8000]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("wavlm"))


@pytest.mark.parametrize("do_normalize", [True, False])
@pytest.mark.parametrize("kind", WAYS)
def test_embeddings_are_transformers_own(tmp_path, kind, do_normalize):
    make_encoder(tmp_path, kind, do_normalize=do_normalize)
    encoder = load_encoder("transformers", tmp_path, "cpu", "fp32")
    # Five layers of a TDNN look at 15 frames of 20 ms.
    assert 4000 < encoder.min_samples < 6000
    signals = [signal * 0.1 for signal in speech([*LENGTHS, encoder.min_samples])]
    expected = embed_alone(tmp_path, signals)
    for n_samples in (1, 50000, 10**7):
        encoder.budget.limit = n_samples
        assert_close(encoder.embed(signals), expected)
    assert_close(encoder.embed(signals[::-1]).flip(0), expected)


def test_normalization_matters(tmp_path):
    # The norm of WavLM's first layer nearly undoes a change of scale; that of this kind does not.
    signals = [signal * 0.1 for signal in speech([16000])]
    found = []
    for do_normalize in (True, False):
        folder = tmp_path / str(do_normalize)
        make_encoder(folder, "UniSpeechSat", do_normalize=do_normalize)
        found.append(TransformersEncoder(folder, "cpu", "fp32").embed(signals))
    one, other = found
    assert (one - other).abs().max() > 0.01 * one.abs().max()


def test_weights_of_either_kind_and_fetched(tmp_path, folder):
    signals = speech(LENGTHS[:2])
    expected = TransformersEncoder(folder, "cpu", "fp32").embed(signals)
    make_encoder(tmp_path / "bin", is_safe=False)
    assert (tmp_path / "bin" / "pytorch_model.bin").is_file()
    fetch_encoder(str(folder), tmp_path / "fetched" / "encoder.json")
    for source in (tmp_path / "bin", tmp_path / "fetched"):
        assert torch.equal(TransformersEncoder(source, "cpu", "fp32").embed(signals), expected)


def test_weights_with_the_names_of_older_versions(tmp_path, folder):
    make_encoder(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    new = "pos_conv_embed.conv.parametrizations.weight.original"
    old = "pos_conv_embed.conv.weight_"
    renamed = {
        name.replace(f"{new}0", f"{old}g").replace(f"{new}1", f"{old}v"): value
        for name, value in weights.items()
        if not name.endswith("masked_spec_embed") and not name.startswith("objective.")
    }
    assert len(renamed) == len(weights) - 2
    assert set(renamed) - set(weights)
    save_file(renamed, tmp_path / "model.safetensors")
    signals = speech(LENGTHS[:2])
    one, other = (TransformersEncoder(one, "cpu", "fp32") for one in (folder, tmp_path))
    assert torch.equal(one.embed(signals), other.embed(signals))


def test_what_is_missing_or_damaged_is_a_one_line_error(tmp_path):
    make_encoder(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    del weights["projector.weight"]
    save_file(weights, path)
    assert_refused(tmp_path, "not the weights of this network: .* Missing key")
    path.write_bytes(path.read_bytes()[:1000])
    assert_refused(tmp_path, "model.safetensors: cannot be read as weights")
    path.unlink()
    torch.save({"weights": Trap(tmp_path / "sprung")}, tmp_path / "pytorch_model.bin")
    assert_refused(tmp_path, "refused because they may run code")
    assert not (tmp_path / "sprung").exists()


def test_a_configuration_that_cannot_be_built_is_a_one_line_error(tmp_path):
    make_encoder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_attention_heads": 5}))
    assert_refused(tmp_path, "config.json: transformers cannot build this encoder: ValueError")


def test_what_attention_has_no_memory_for_is_refused(folder, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "long.wav", torch.zeros(60000).numpy(), 8000)
    encoder = TransformersEncoder(folder, "cpu", "fp32")
    assert encoder.read(str(tmp_path / "long.wav")).rate == 16000
    monkeypatch.setattr(encoder, "max_samples", 100000)
    with pytest.raises(UtteranceError, match=r"too long: 8 s, .* from 6 s on; make segments"):
        encoder.read(str(tmp_path / "long.wav"))


def test_the_longest_signal_follows_from_memory_and_heads(folder, monkeypatch):
    monkeypatch.setattr(encoder_module.os, "sysconf", lambda name: 2**16)
    encoder = TransformersEncoder(folder, "cpu", "fp32")
    # Half of 4 GiB holds four matrices of float32 for each of two heads.
    n_frames = (2**31 / (4 * 2 * 4)) ** 0.5
    assert encoder.max_samples == int(n_frames * 320)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_other_precisions_are_refused(folder, precision):
    with pytest.raises(EncoderError, match=f"transformers has no {precision}; use fp32"):
        load_encoder("transformers", folder, "cpu", precision)


def assert_refused(path, message):
    with pytest.raises(EncoderError, match=message) as error:
        TransformersEncoder(path, "cpu", "fp32")
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1
