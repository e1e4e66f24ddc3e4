from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from xvectors.config.toolkits import missing_packages

if missing_packages("onnx") or not (find_spec("onnx") and find_spec("kaldi_native_fbank")):
    pytest.skip(
        "onnxruntime or onnx is not installed: make onnx .venv/.dev", allow_module_level=True
    )

from speechbrain.dataio.preprocess import AudioNormalizer
from torchaudio.transforms import Resample

from tests.support.checkout import DEMO
from tests.support.closeness import assert_close
from tests.support.onnx_graphs import (
    SPEAKER_3D,
    WESPEAKER,
    CamPlusPlus,
    Companions,
    ResNet,
    Waveform,
    embed_alone,
    export,
    export_titanet,
)
from tests.support.silero_package import detector_and_package, join_speech
from tests.support.toolkit_models import speech
from xvectors.audio.reading import read_signal
from xvectors.audio.resampling import Normalizer
from xvectors.config.settings import FRONTENDS, Frontend
from xvectors.encoders.encoder import load_encoder
from xvectors.encoders.onnx.encoder import OnnxEncoder
from xvectors.errors import EncoderError

ALBA = DEMO / "wav" / "alba" / "alba_00.flac"
NETWORKS = {"campplus": CamPlusPlus, "resnet": ResNet}
KALDI_FRONTENDS = {
    **{name: FRONTENDS[name] for name in ("wespeaker", "3dspeaker", "cosyvoice")},
    "gpt-sovits": Frontend.model_validate({"subtract_mean": False}),
}
LENGTHS = [16000, 8000, 16000, 16001, 16000, 30007, 8000, 48000]


@pytest.fixture(scope="module")
def campplus(tmp_path_factory) -> Path:
    return export(CamPlusPlus(), tmp_path_factory.mktemp("graph") / "campplus.onnx")


@pytest.mark.parametrize("frontend", KALDI_FRONTENDS)
@pytest.mark.parametrize("opset", [11, 14])
@pytest.mark.parametrize("network", NETWORKS)
def test_embeddings_are_the_projects_own(tmp_path, network, opset, frontend):
    path = export(NETWORKS[network](), tmp_path / "model.onnx", opset)
    encoder = load_encoder("onnx", path, "cpu", "fp32", KALDI_FRONTENDS[frontend])
    signals = speech([*LENGTHS, encoder.min_samples])
    expected = embed_alone(path, frontend, signals)
    embeddings = encoder.embed(signals)
    assert embeddings.dtype == torch.float32
    assert_close(embeddings, expected)
    assert_close(encoder.embed(signals[::-1]).flip(0), expected)


@pytest.mark.parametrize("opset", [11, 14])
def test_embeddings_are_nemos(tmp_path, opset):
    if find_spec("librosa") is None:
        pytest.skip("librosa, with which NeMo makes its filters, is not installed: make espnet")
    path = export_titanet(tmp_path / "titanet.onnx", opset)
    encoder = load_encoder("onnx", path, "cpu", "fp32", FRONTENDS["nemo"])
    # With 159 frames the one at the end fills up a multiple of 16; with 160 it begins another.
    signals = speech([*LENGTHS, 159 * 160, 160 * 160, 160 * 160 + 159])
    assert_close(encoder.embed(signals), embed_alone(path, "nemo", signals))


@pytest.mark.parametrize("opset", [11, 14])
def test_samples_as_they_are(tmp_path, opset):
    path = export(Waveform(), tmp_path / "raw.onnx", opset, names=(["wav"], ["embs"]))
    encoder = OnnxEncoder(path, "cpu", "fp32", FRONTENDS["raw"])
    assert encoder.min_samples == 400
    signals = speech(LENGTHS)
    assert_close(encoder.embed(signals), embed_alone(path, "raw", signals))


@pytest.mark.parametrize(
    ("metadata", "frontend"), [(WESPEAKER, "wespeaker"), (SPEAKER_3D, "3dspeaker")]
)
def test_metadata_tell_the_front_end(tmp_path, metadata, frontend):
    path = export(ResNet(), tmp_path / "model.onnx", 14, metadata | {"output_dim": "24"})
    encoder = load_encoder("onnx", tmp_path, "cpu", "fp32")
    assert encoder.graph.frontend == FRONTENDS[frontend]
    signals = speech(LENGTHS)
    assert_close(encoder.embed(signals), embed_alone(path, frontend, signals))


def test_the_speech_alone_is_embedded(campplus, tmp_path):
    detector, package = detector_and_package()
    samples, rate = soundfile.read(ALBA, dtype="float32")
    pause = np.random.default_rng(0).normal(0, 1e-3, rate).astype("float32")
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate([pause, samples, pause, samples]), rate)
    heard = read_signal(str(path), Normalizer(16000)).samples
    speech = join_speech(package, heard)
    assert 0 < len(speech) < len(heard)
    encoder = OnnxEncoder(campplus, "cpu", "fp32", FRONTENDS["wespeaker"])
    encoder.embed_speech_alone(detector)
    found = encoder.embed([encoder.read(str(path))])
    assert_close(found, embed_alone(campplus, "wespeaker", [speech]))


def write_stereo(path: Path) -> torch.Tensor:
    """Write two different channels at 44.1 kHz, and return what libsndfile decodes of them."""
    samples, _ = soundfile.read(ALBA, dtype="float32")
    soundfile.write(path, np.stack([samples, samples[::-1] / 2], axis=1), 44100)
    decoded, rate = soundfile.read(path, dtype="float32")
    assert rate == 44100
    return torch.from_numpy(decoded.T)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3"])
@pytest.mark.parametrize("frontend", KALDI_FRONTENDS)
def test_the_first_channel_is_heard_as_in_the_projects_scripts(campplus, tmp_path, frontend, kind):
    """All channels are resampled, and torchaudio's fbank takes the first."""
    decoded = write_stereo(tmp_path / f"a.{kind}")
    signal = Resample(44100, 16000)(decoded)[0]
    encoder = OnnxEncoder(campplus, "cpu", "fp32", KALDI_FRONTENDS[frontend])
    expected = embed_alone(campplus, frontend, [signal])
    assert_close(encoder.embed([encoder.read(str(tmp_path / f"a.{kind}"))]), expected)
    # The mean of both gives another vector.
    mean = KALDI_FRONTENDS[frontend].model_copy(update={"channels": "mean"})
    encoder = OnnxEncoder(campplus, "cpu", "fp32", mean)
    found = encoder.embed([encoder.read(str(tmp_path / f"a.{kind}"))])
    assert_close(found, embed_alone(campplus, frontend, [AudioNormalizer()(decoded.T, 44100)]))
    assert (found - expected).abs().max() > 0.01 * expected.abs().max()


@pytest.mark.parametrize("channels", [None, "first"])
def test_channels_of_samples_as_they_are(tmp_path, channels):
    path = export(Waveform(), tmp_path / "raw.onnx", names=(["wav"], ["embs"]))
    decoded = write_stereo(tmp_path / "a.flac")
    settings = {"features": "raw"} | ({"channels": channels} if channels else {})
    encoder = OnnxEncoder(path, "cpu", "fp32", Frontend.model_validate(settings))
    signal = Resample(44100, 16000)(decoded[0] if channels else decoded.mean(0))
    found = encoder.embed([encoder.read(str(tmp_path / "a.flac"))])
    assert_close(found, embed_alone(path, "raw", [signal]))


def test_a_front_end_of_another_rate(tmp_path):
    path = export(Waveform(), tmp_path / "raw.onnx", names=(["wav"], ["embs"]))
    frontend = Frontend.model_validate({"features": "raw", "sample_rate": 8000})
    encoder = OnnxEncoder(path, "cpu", "fp32", frontend)
    samples, rate = soundfile.read(ALBA, dtype="float32")
    signal = AudioNormalizer(8000)(torch.from_numpy(samples), rate)
    found = encoder.embed([encoder.read(str(ALBA))])
    assert_close(found, embed_alone(path, "raw", [signal]))


@pytest.mark.parametrize("is_batch_fixed", [True, False])
def test_batches_are_of_equal_length_and_no_larger_than_the_graph_takes(
    tmp_path, monkeypatch, is_batch_fixed
):
    path = export(CamPlusPlus(), tmp_path / "a.onnx", is_batch_fixed=is_batch_fixed)
    encoder = OnnxEncoder(path, "cpu", "fp32", FRONTENDS["3dspeaker"])
    sizes = []
    run = encoder.graph.run
    monkeypatch.setattr(
        encoder.graph, "run", lambda *given: (sizes.append(len(given[0])), run(*given))[1]
    )
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    signals = speech([16000] * 6 + [8000])
    found = encoder.embed(signals)
    assert_close(found, embed_alone(path, "3dspeaker", signals))
    # Six signals for two threads.
    assert sorted(sizes) == ([1] * 7 if is_batch_fixed else [1, 3, 3])


def test_where_companions_matter_there_are_none(tmp_path):
    path = export(Companions(), tmp_path / "a.onnx")
    encoder = OnnxEncoder(path, "cpu", "fp32", FRONTENDS["3dspeaker"])
    assert encoder.graph.max_batch == 1
    signals = speech([16000] * 4)
    assert_close(encoder.embed(signals), embed_alone(path, "3dspeaker", signals))


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_other_precisions_are_refused(campplus, precision):
    with pytest.raises(EncoderError, match=f"onnx has no {precision}; use fp32"):
        load_encoder("onnx", campplus, "cpu", precision, FRONTENDS["3dspeaker"])
