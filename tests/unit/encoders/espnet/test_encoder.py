import shutil
from pathlib import Path

import pytest
import torch
import yaml

from xvectors.config.toolkits import missing_packages

if missing_packages("espnet"):
    pytest.skip("ESPnet is not installed: make espnet", allow_module_level=True)

from espnet2.main_funcs.pack_funcs import pack

from tests.support.closeness import assert_close
from tests.support.fake_gpu import GPU, fake_gpu, to_gpu
from tests.support.toolkit_models import (
    CHECKPOINT,
    ESPNET_MODELS,
    Trap,
    make_espnet_encoder,
    note_tf32,
    speech,
)
from xvectors.encoders.device import has_bf16
from xvectors.encoders.encoder import load_encoder
from xvectors.encoders.espnet.encoder import GPU_SAMPLES, EspnetEncoder
from xvectors.encoders.espnet.ragged import RaggedModel
from xvectors.encoders.espnet.workarounds import Speech2Embedding
from xvectors.encoders.fetching import fetch_encoder
from xvectors.errors import EncoderError


@pytest.fixture(scope="module", params=ESPNET_MODELS)
def folder(request, tmp_path_factory) -> Path:
    return make_espnet_encoder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def ecapa(tmp_path_factory) -> Path:
    return make_espnet_encoder(tmp_path_factory.mktemp("ecapa"))


def speech2embedding(folder: Path) -> Speech2Embedding:
    return Speech2Embedding(folder / "config.yaml", folder / CHECKPOINT)


def make_signals(encoder: EspnetEncoder) -> list[torch.Tensor]:
    """Speech of different lengths, some of the same, and of the shortest that is taken."""
    return speech([16000, encoder.min_samples, 8000, 16000, 16001, 16000, 30007, 8000])


@pytest.mark.parametrize("n_samples", [1, 50000, 10**7])
def test_embeddings_are_those_of_speech2embedding_one_at_a_time(folder, n_samples):
    encoder = load_encoder("espnet", folder, "cpu", "fp32")
    signals = make_signals(encoder)
    toolkit = speech2embedding(folder)
    expected = torch.cat([toolkit(signal) for signal in signals])
    encoder.budget.limit = n_samples
    embeddings = encoder.embed(signals)
    assert embeddings.shape == expected.shape
    assert embeddings.dtype == torch.float32
    assert_close(embeddings, expected)
    assert_close(encoder.embed(signals[::-1]).flip(0), expected)


@pytest.mark.parametrize("name", ["ecapa", "xvector"])
def test_other_encoders_are_batched_by_length(name, tmp_path, caplog):
    folder = make_espnet_encoder(tmp_path, name)
    with caplog.at_level("INFO"):
        encoder = EspnetEncoder(folder, "cpu", "fp32")
    assert (encoder.ragged is None) == (name == "xvector")
    assert ("no fast form of XvectorEncoder with StatsPooling" in caplog.text) == (
        name == "xvector"
    )


def test_a_gpu_without_memory_makes_no_signal_too_short(folder, monkeypatch):
    def embed(self, signals):
        if len(signals[0]) < 9000:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.zeros(1, 4)

    monkeypatch.setattr(EspnetEncoder, "embed", embed)
    with pytest.raises(torch.OutOfMemoryError):
        EspnetEncoder(folder, "cpu", "fp32")


def test_the_shortest_signal_is_the_shortest_that_the_model_takes(folder):
    encoder = EspnetEncoder(folder, "cpu", "fp32")
    signal = make_signals(encoder)[1]
    assert encoder.embed([signal]).isfinite().all()
    with pytest.raises(RuntimeError):
        speech2embedding(folder)(signal[:-1])


@pytest.mark.skipif(not has_bf16("cpu"), reason="this processor has no bf16")
def test_bf16_stays_close(folder):
    exact = EspnetEncoder(folder, "cpu", "fp32")
    signals = [signal for signal in make_signals(exact) if len(signal) >= 8000]
    one, other = exact.embed(signals), EspnetEncoder(folder, "cpu", "bf16").embed(signals)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(one, other).min() >= 0.9999
    assert cosine(one - one.mean(0), other - other.mean(0)).min() >= 0.998


def test_tf32_is_for_the_frames_alone(ecapa, monkeypatch):
    encoder = EspnetEncoder(ecapa, "cpu", "tf32")
    parts = [
        (encoder.model, "extract_feats", False),
        (encoder.ragged, "encoder", True),
        (encoder.ragged, "pool", False),
        (encoder.model, "project_spk_embd", False),
    ]
    noted = [note_tf32(monkeypatch, owner, name) for owner, name, _ in parts]
    encoder.embed(make_signals(encoder))
    assert [set(found) for found in noted] == [{expected} for _, _, expected in parts]


def test_a_packed_archive_a_hub_repository_and_a_checkpoint(ecapa, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training = Path(shutil.copytree(ecapa, tmp_path / "exp" / "spk_train"))
    archive = tmp_path / "model.zip"
    pack({"model_file": training / CHECKPOINT}, {"train_config": training / "config.yaml"}, archive)
    repository = tmp_path / "repository"
    shutil.unpack_archive(archive, repository)
    (repository / "exp" / "another.pth").touch()
    signals = make_signals(EspnetEncoder(ecapa, "cpu", "fp32"))[:2]
    expected = EspnetEncoder(ecapa, "cpu", "fp32").embed(signals)
    for source in (archive, repository, training / CHECKPOINT, training):
        assert torch.equal(EspnetEncoder(source, "cpu", "fp32").embed(signals), expected)
        fetch_encoder(str(source), tmp_path / "fetched" / "encoder.json")
        fetched = EspnetEncoder(tmp_path / "fetched", "cpu", "fp32")
        assert torch.equal(fetched.embed(signals), expected)


def change_weights(folder, change):
    weights = torch.load(folder / CHECKPOINT, weights_only=True)
    torch.save(change(weights), folder / CHECKPOINT)


@pytest.fixture
def bad(ecapa, tmp_path) -> Path:
    """A copy of an encoder, to be damaged."""
    return Path(shutil.copytree(ecapa, tmp_path / "bad"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: {"model": weights}, "not the weights of this network: .* Missing key"),
        (lambda weights: {f"x.{name}": one for name, one in weights.items()}, "Missing key"),
        (lambda weights: weights | {"encoder.x": torch.ones(1)}, 'Unexpected key.* "encoder.x"'),
        (lambda weights: weights | {"projector.fc.bias": torch.ones(3)}, "size mismatch"),
        (list, "holds a list, not weights by name"),
    ],
)
def test_weights_of_another_network_are_one_line(bad, change, message):
    change_weights(bad, change)
    assert_refused(bad, message)


def test_the_weights_of_the_trainings_loss_do_not_matter(bad, ecapa):
    change_weights(bad, lambda weights: {n: w for n, w in weights.items() if n[:5] != "loss."})
    signals = make_signals(EspnetEncoder(ecapa, "cpu", "fp32"))[:1]
    expected = EspnetEncoder(ecapa, "cpu", "fp32").embed(signals)
    assert torch.equal(EspnetEncoder(bad, "cpu", "fp32").embed(signals), expected)


def test_a_checkpoint_that_is_cut_off(bad):
    content = (bad / CHECKPOINT).read_bytes()
    for n_bytes in (0, 10, len(content) // 2, len(content) - 1):
        (bad / CHECKPOINT).write_bytes(content[:n_bytes])
        assert_refused(bad, "cannot be read as weights")


def test_code_in_a_checkpoint_is_not_run(bad, tmp_path):
    change_weights(bad, lambda weights: weights | {"loss.trap": Trap(tmp_path / "sprung")})
    assert_refused(bad, "refused because they may run code")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("encoder: !!python/object/apply:os.mkdir [sprung]", "not YAML of plain data"),
        ("- a", "has no settings"),
        ("a: [", "not YAML of plain data"),
        ("encoder: none", "ESPnet cannot build this encoder"),
        ("use_adapter: true", "use_adapter is not supported"),
    ],
)
def test_a_configuration_that_is_none(bad, config, message, monkeypatch):
    monkeypatch.chdir(bad)
    (bad / "config.yaml").write_text(config)
    assert_refused(bad, message)
    assert not (bad / "sprung").exists()


def test_an_encoder_that_does_not_work(bad):
    config = yaml.safe_load((bad / "config.yaml").read_text())
    config["frontend_conf"]["n_fft"] = 10**5
    (bad / "config.yaml").write_text(yaml.safe_dump(config))
    weights = Speech2Embedding(bad / "config.yaml", None).spk_model.state_dict()
    torch.save(weights, bad / CHECKPOINT)
    assert_refused(bad, "this encoder fails on a second of noise: RuntimeError: ")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.pth", "b.pth", "config.yaml"], r"2 .pth files where one is needed \(a.pth, b.pth\)"),
        (["config.yaml"], "0 .pth files where one is needed"),
        (["a.pth"], "config.yaml is missing"),
        (["meta.yaml"], "meta.yaml: has no settings"),
    ],
)
def test_a_folder_that_is_no_encoder(tmp_path, names, message):
    for name in names:
        (tmp_path / name).touch()
    assert_refused(tmp_path, message)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("{files: {asr_model_file: a.pth}, yaml_files: {}}", "names no model_file and train_con"),
        ("{files: {model_file: a.pth}, yaml_files: {train_config: c.yaml}}", "c.yaml is missing"),
    ],
)
def test_a_repository_of_another_kind(tmp_path, meta, message):
    (tmp_path / "meta.yaml").write_text(meta)
    (tmp_path / "a.pth").touch()
    assert_refused(tmp_path, message)


def assert_refused(source, message):
    with pytest.raises(EncoderError, match=message) as error:
        EspnetEncoder(source, "cpu", "fp32")
    assert str(source) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["rawnet3", "ecapa"])
def test_a_gpu_is_given_few_copies_and_never_waited_for(tmp_path, monkeypatch, name):
    encoder = load_encoder("espnet", make_espnet_encoder(tmp_path, name), "cpu", "fp32")
    encoder.budget.limit = GPU_SAMPLES
    with fake_gpu(monkeypatch) as noted, torch.no_grad():
        to_gpu(encoder.model)
        if name == "rawnet3":
            filters = encoder.model.frontend.conv.get_filters().clone().to(GPU)
            encoder.model.frontend.conv.get_filters = lambda: filters
        encoder.device = GPU
        encoder.ragged = RaggedModel(encoder.model, torch.float32, padded=True)
        launches = []
        for n in (2, 12):
            noted.clear()
            signals = [torch.empty(16000 + 1000 * i, device=GPU) for i in range(n)]
            assert encoder.embed_on_device(signals).device == GPU
            # The taps of three dilations, of the first layer, and of lengths. None waits.
            assert noted.n_copies <= 12
            launches.append(noted.n_launches)
    # The features are computed one by one, as ESPnet does.
    assert (launches[1] - launches[0]) / 10 < 30
