import copy
import re
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.nnet.pooling import StatisticsPooling
from speechbrain.processing.features import spectral_magnitude

from tests.support.random_encoder import HYPERPARAMS, write_random_encoder
from tests.support.toolkit_models import Trap, note_tf32
from xvectors.encoders.device import has_bf16
from xvectors.encoders.speechbrain import chunked_ecapa
from xvectors.encoders.speechbrain import encoder as encoder_module
from xvectors.encoders.speechbrain.encoder import SAMPLE_RATE, SpeechBrainEncoder
from xvectors.encoders.speechbrain.features import decibels, filters_of
from xvectors.encoders.speechbrain.ragged_ecapa import RaggedEcapa, is_covered
from xvectors.errors import EncoderError


@pytest.fixture(scope="module")
def encoder(demo_encoder) -> SpeechBrainEncoder:
    return SpeechBrainEncoder(demo_encoder, "cpu", "fp32")


@pytest.fixture(scope="module")
def signals(demo_encoder, encoder) -> list[torch.Tensor]:
    """Speech of many lengths, from the shortest that the encoder takes."""
    found = []
    for path in sorted((demo_encoder.parent / "wav").glob("*/*_0[0-2].*")):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        found.append(encoder.normalizer(torch.from_numpy(samples), rate))
    return [*found, found[0][: encoder.min_samples], found[1][:1000], torch.cat(found[:6])]


@pytest.fixture(scope="module")
def alone(reference, signals) -> torch.Tensor:
    """SpeechBrain's own embeddings of the signals, one at a time."""
    return torch.cat([reference.classifier.encode_batch(signal)[0] for signal in signals])


def assert_close(embeddings: torch.Tensor, expected: torch.Tensor) -> None:
    difference = (embeddings - expected).abs().amax(1) / expected.abs().amax(1)
    assert difference.max() <= 1e-4


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
    monkeypatch.setattr(encoder.packed, "padded", True)
    monkeypatch.setattr(encoder.features, "together", True)
    monkeypatch.setattr(encoder.budget, "limit", n_frames)
    assert_close(encoder.embed(signals), alone)
    assert_close(encoder.embed(signals[::-1]).flip(0), alone)


def test_features_together_equal_those_alone(encoder, signals, monkeypatch):
    quiet_and_loud = [signals[0] * 1e-4, signals[1] * 0.9, torch.zeros(8000), *signals[2:]]
    alone = encoder.features(quiet_and_loud)
    monkeypatch.setattr(encoder.features, "together", True)
    for one, other in zip(encoder.features(quiet_and_loud), alone, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() < 1e-3
    assert encoder.features([]) == []


def test_filters_and_decibels_are_those_of_the_filterbank(encoder, signals):
    fbank = encoder.features.compute
    for signal in signals[:3]:
        spectrogram = spectral_magnitude(fbank.compute_STFT(signal[None]))
        filterbank = copy.copy(fbank.compute_fbanks)
        filterbank.top_db = float("inf")
        found = decibels(filterbank, torch.matmul(spectrogram, filters_of(filterbank)))
        assert torch.equal(found, filterbank(spectrogram))


@pytest.mark.parametrize("longest", [0, 300])
def test_how_long_signals_go_whole_does_not_matter(encoder, signals, alone, monkeypatch, longest):
    monkeypatch.setattr(encoder.budget, "longest", longest)
    assert_close(encoder.embed(signals), alone)


def test_without_prepacked_products(demo_encoder, signals, alone, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    plain = SpeechBrainEncoder(demo_encoder, "cpu", "fp32")
    assert plain.packed.first.product.prepacked is None
    assert_close(plain.embed(signals), alone)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"channels": [48, 64, 64, 64, 96], "kernel_sizes": [3, 5, 3, 7, 3]},
        {"dilations": [2, 1, 3, 2, 2], "groups": [1, 4, 2, 1, 2]},
        {"global_context": False, "res2net_scale": 4, "attention_channels": 16},
    ],
)
def test_models_of_other_shapes(settings, padded):
    torch.manual_seed(0)
    shape = {"channels": [64, 64, 64, 64, 96], "lin_neurons": 24, "se_channels": 16}
    model = ECAPA_TDNN(20, **(shape | settings)).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    features = [torch.randn(n_frames, 20) for n_frames in (40, 13, 200)]
    assert is_covered(model)
    with torch.inference_mode():
        expected = torch.cat([model(one[None]).flatten(1) for one in features])
        found = RaggedEcapa(model, torch.float32, padded).embed(features)
        assert_close(found, expected)


def test_a_model_without_a_fast_form(demo_encoder, signals, alone, monkeypatch):
    monkeypatch.setattr(encoder_module, "is_covered", lambda model: False)
    slow = SpeechBrainEncoder(demo_encoder, "cpu", "fp32")
    assert slow.packed is None
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
    assert f"no fast form of {name}" in caplog.text
    mixed = [*signals, *(signal[: len(signals[0])] for signal in signals if len(signal) > 30000)]
    expected = encoder_alone(encoder, mixed)
    assert_close(encoder.embed(mixed), expected)
    encoder.features.together = True
    assert_close(encoder.embed(mixed), expected)


def encoder_alone(encoder: SpeechBrainEncoder, signals: list[torch.Tensor]) -> torch.Tensor:
    encode = encoder.classifier.encode_batch
    return torch.stack([encode(signal).flatten() for signal in signals])


@pytest.mark.parametrize("activation", [torch.nn.LeakyReLU, torch.nn.ReLU])
def test_only_what_is_computed_alike_is_covered(activation):
    model = ECAPA_TDNN(20, channels=[16] * 5, activation=activation)
    assert is_covered(model) == (activation is torch.nn.ReLU)
    assert not is_covered(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("chunk_frames", [100, 331, 3000])
def test_long_signals_in_chunks_equal_the_whole(encoder, signals, monkeypatch, chunk_frames):
    fade = torch.linspace(0.01, 1, len(signals[-1]))
    signal = torch.cat([signals[-1] * fade, torch.zeros(4000), signals[-1]])[:-77]
    whole = encoder.embed([signal])
    monkeypatch.setattr(chunked_ecapa, "CHUNK_FRAMES", chunk_frames)
    monkeypatch.setattr(encoder.budget, "longest", 100)
    assert_close(encoder.embed([signal]), whole)


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
    in_bf16.packed.padded = padded
    rounded = in_bf16.embed(signals)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(exact, rounded).min() >= 0.9999
    assert cosine(exact - exact.mean(0), rounded - rounded.mean(0)).min() >= 0.998
    assert rounded.dtype == torch.float32


def test_tf32_is_for_the_network_alone(demo_encoder, signals, monkeypatch):
    encoder = SpeechBrainEncoder(demo_encoder, "cpu", "tf32")
    features = note_tf32(monkeypatch, encoder.features, "compute")
    network = note_tf32(monkeypatch, encoder.packed, "pooling")
    encoder.embed(signals)
    assert (set(features), set(network)) == ({False}, {True})


def test_a_folder_that_is_no_encoder(tmp_path):
    with pytest.raises(EncoderError, match=r"hyperparams.yaml is missing"):
        SpeechBrainEncoder(tmp_path, "cpu", "fp32")


@pytest.mark.parametrize("name", ["embedding_model.ckpt", "classifier.ckpt", "hyperparams.yaml"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_encoder_is_one_line(tmp_path, demo_encoder, name, damage):
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
