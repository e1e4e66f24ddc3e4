import re
import shutil
from pathlib import Path

import pytest
import torch
from speechbrain.nnet.pooling import StatisticsPooling

from tests.support.closeness import assert_close
from tests.support.random_encoder import HYPERPARAMS, write_random_encoder
from tests.support.toolkit_models import Trap, note_tf32
from xvectors.encoders.device import has_bf16
from xvectors.encoders.speechbrain import encoder as encoder_module
from xvectors.encoders.speechbrain.encoder import SAMPLE_RATE, SpeechBrainEncoder
from xvectors.errors import EncoderError


def test_companions_do_not_matter(encoder, signals, alone):
    assert_close(torch.cat([encoder.embed([signal]) for signal in signals]), alone)
    assert_close(encoder.embed(signals), alone)
    assert_close(encoder.embed(signals[::-1]).flip(0), alone)


@pytest.mark.parametrize("n_frames", [1, 400, 10**6])
def test_the_size_of_packs_does_not_matter(encoder, signals, alone, monkeypatch, n_frames):
    monkeypatch.setattr(encoder.budget, "limit", n_frames)
    assert_close(encoder.embed(signals), alone)


@pytest.mark.parametrize("n_frames", [400, 10**6])
def test_the_form_for_gpus(encoder, signals, alone, monkeypatch, n_frames):
    monkeypatch.setattr(encoder.ragged, "padded", True)
    monkeypatch.setattr(encoder.features, "together", True)
    monkeypatch.setattr(encoder.budget, "limit", n_frames)
    assert_close(encoder.embed(signals), alone)
    assert_close(encoder.embed(signals[::-1]).flip(0), alone)


@pytest.mark.parametrize("longest", [0, 300])
def test_how_long_signals_go_whole_does_not_matter(encoder, signals, alone, monkeypatch, longest):
    monkeypatch.setattr(encoder.budget, "longest", longest)
    assert_close(encoder.embed(signals), alone)


def test_without_prepacked_products(demo_encoder, signals, alone, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    plain = SpeechBrainEncoder(demo_encoder, "cpu", "fp32")
    assert plain.ragged.first.product.prepacked is None
    assert_close(plain.embed(signals), alone)


def test_a_model_without_a_fast_form(demo_encoder, signals, alone, monkeypatch):
    monkeypatch.setattr(encoder_module, "_ragged_form", lambda *_: None)
    slow = SpeechBrainEncoder(demo_encoder, "cpu", "fp32")
    assert slow.ragged is None
    assert_close(slow.embed(signals), alone)
    same_length = [signal[: len(signals[0])] for signal in signals if len(signal) > 30000]
    assert_close(slow.embed(same_length), encoder_alone(slow, same_length))


# As in the hyperparams.yaml of speechbrain/spkrec-xvect-voxceleb and spkrec-resnet-voxceleb.
OTHER_MODELS = {
    "Xvector": """\
embedding_model: !new:speechbrain.lobes.models.Xvector.Xvector
    in_channels: !ref <n_mels>
    activation: !name:torch.nn.LeakyReLU
    tdnn_blocks: 5
    tdnn_channels: [32, 32, 32, 32, 96]
    tdnn_kernel_sizes: [5, 3, 3, 1, 1]
    tdnn_dilations: [1, 2, 3, 1, 1]
    lin_neurons: 192

""",
    "ResNet": """\
embedding_model: !new:speechbrain.lobes.models.ResNet.ResNet
    input_size: !ref <n_mels>
    channels: [8, 8, 16, 16]
    strides: [1, 2, 2, 2]
    block_sizes: [1, 1, 1, 1]
    lin_neurons: 192

""",
}


@pytest.mark.parametrize("name", OTHER_MODELS)
def test_other_encoders_of_the_family(signals, tmp_path, caplog, monkeypatch, name):
    # SpeechBrain's x-vector adds noise to its means, about the tolerance from call to call.
    monkeypatch.setattr(StatisticsPooling, "_get_gauss_noise", lambda self, shape, device: 0)
    ecapa = re.search(r"embedding_model: !new.*?\n\n", HYPERPARAMS, re.DOTALL)
    hyperparams = HYPERPARAMS.replace(ecapa.group(), OTHER_MODELS[name])
    write_random_encoder(tmp_path, hyperparams=hyperparams)
    with caplog.at_level("INFO"):
        encoder = SpeechBrainEncoder(tmp_path, "cpu", "fp32")
    assert (f"no fast form of {name}" in caplog.text) == (name == "ResNet")
    mixed = [*signals, *(signal[: len(signals[0])] for signal in signals if len(signal) > 30000)]
    expected = encoder_alone(encoder, mixed)
    assert_close(encoder.embed(mixed), expected)
    encoder.features.together = True
    if encoder.ragged:
        encoder.ragged.padded = True
    assert_close(encoder.embed(mixed), expected)


def encoder_alone(encoder: SpeechBrainEncoder, signals: list[torch.Tensor]) -> torch.Tensor:
    encode = encoder.classifier.encode_batch
    return torch.stack([encode(signal).flatten() for signal in signals])


def test_the_shortest_signal_is_the_shortest_that_speechbrain_takes(encoder, reference, signals):
    assert encoder.min_samples == 4 * SAMPLE_RATE // 100
    shortest = signals[0][: encoder.min_samples]
    assert encoder.embed([shortest]).isfinite().all()
    with pytest.raises(RuntimeError, match="Padding size"):
        reference.classifier.encode_batch(shortest[:-1])


def test_silence_gets_an_embedding_like_speechbrains(encoder, reference):
    silence = torch.zeros(SAMPLE_RATE)
    expected = reference.classifier.encode_batch(silence).reshape(1, -1)
    assert_close(encoder.embed([silence]), expected)


@pytest.mark.skipif(not has_bf16("cpu"), reason="this processor has no bf16")
@pytest.mark.parametrize("padded", [False, True])
def test_bf16_stays_close(demo_encoder, encoder, signals, padded):
    exact = encoder.embed(signals)
    in_bf16 = SpeechBrainEncoder(demo_encoder, "cpu", "bf16")
    in_bf16.ragged.padded = padded
    rounded = in_bf16.embed(signals)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(exact, rounded).min() >= 0.9999
    assert cosine(exact - exact.mean(0), rounded - rounded.mean(0)).min() >= 0.998
    assert rounded.dtype == torch.float32


def test_tf32_is_for_the_network_alone(demo_encoder, signals, monkeypatch):
    encoder = SpeechBrainEncoder(demo_encoder, "cpu", "tf32")
    features = note_tf32(monkeypatch, encoder.features, "compute")
    network = note_tf32(monkeypatch, encoder.ragged, "pooling")
    encoder.embed(signals)
    assert (set(features), set(network)) == ({False}, {True})


def test_a_folder_that_is_no_encoder(tmp_path):
    with pytest.raises(EncoderError, match=r"hyperparams.yaml is missing"):
        SpeechBrainEncoder(tmp_path, "cpu", "fp32")


@pytest.mark.parametrize("name", ["embedding_model.ckpt", "classifier.ckpt", "hyperparams.yaml"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_encoder_is_a_one_line_error(tmp_path, demo_encoder, name, damage):
    folder = Path(shutil.copytree(demo_encoder, tmp_path / "encoder"))
    if damage == "gone":
        (folder / name).unlink()
    else:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(EncoderError) as error:
        SpeechBrainEncoder(folder, "cpu", "fp32")
    assert str(folder) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["embedding_model.ckpt", "mean_var_norm_emb.ckpt"])
@pytest.mark.parametrize("as_zip", [True, False])
def test_code_in_a_checkpoint_is_not_run(tmp_path, demo_encoder, name, as_zip):
    bad = Path(shutil.copytree(demo_encoder, tmp_path / "bad"))
    content = torch.load(bad / name, weights_only=True) | {"trap": Trap(tmp_path / "sprung")}
    torch.save(content, bad / name, _use_new_zipfile_serialization=as_zip)
    with pytest.raises(EncoderError, match="SpeechBrain cannot load this encoder") as error:
        SpeechBrainEncoder(bad, "cpu", "fp32")
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "sprung").exists()
