"""Whole runs with the toolkits besides SpeechBrain."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.preprocess import AudioNormalizer

from tests.support.closeness import TOLERANCE, assert_close
from tests.support.resemblyzer_package import embed_with_package
from tests.support.toolkit_models import CHECKPOINT, make_espnet_encoder, make_rawnet_checkpoint
from xvectors.config.toolkits import TOOLKITS, installed_version, missing_packages
from xvectors.storage.provenance import parse_provenance
from xvectors.storage.pt_file import read_provenance

pytestmark = pytest.mark.integration


def make_espnet(folder):
    """Return the path of an encoder, and ESPnet's own call with it."""
    from espnet2.bin.spk_inference import Speech2Embedding  # noqa: PLC0415

    make_espnet_encoder(folder, "rawnet3")
    toolkit = Speech2Embedding(folder / "config.yaml", folder / CHECKPOINT)
    return folder / CHECKPOINT, lambda signal: toolkit(signal)[0]


def make_rawnet(folder):
    """Return the path of a checkpoint, and the recipe's steps with it."""
    from xvectors.encoders.rawnet.encoder import RawNetEncoder  # noqa: PLC0415

    network = RawNetEncoder(make_rawnet_checkpoint(folder / "model.pt"), "cpu", "fp32").network

    @torch.inference_mode()
    def embed(signal):
        audio = signal.numpy()
        if len(audio) < 48000:
            audio = np.pad(audio, (0, 48000 - len(audio) + 1), "wrap")
        starts = np.linspace(0, len(audio) - 48000, num=10)
        windows = [audio[int(start) : int(start) + 48000] for start in starts]
        return network(torch.from_numpy(np.stack(windows))).mean(0)

    return folder / "model.pt", embed


def make_onnx(folder):
    """Return the path of a graph with metadata, and 3D-Speaker's steps with it."""
    graphs = pytest.importorskip("tests.support.onnx_graphs", reason="make .venv/.dev")
    path = folder / "model.onnx"
    graphs.export(graphs.CamPlusPlus(), path, metadata=graphs.SPEAKER_3D)
    return path, lambda signal: graphs.embed_alone(path, "3dspeaker", [signal])[0]


def make_transformers(folder):
    """Return the folder of a WavLM, and transformers' own call with it."""
    from tests.support import transformers_models  # noqa: PLC0415

    transformers_models.make_encoder(folder, do_normalize=True)
    return folder, lambda signal: transformers_models.embed_alone(folder, [signal])[0]


MAKERS = {
    "espnet": make_espnet,
    "rawnet": make_rawnet,
    "onnx": make_onnx,
    "transformers": make_transformers,
}


@pytest.fixture(params=MAKERS)
def toolkit(request):
    """The name of a toolkit that is installed."""
    if missing_packages(request.param):
        pytest.skip(f"{request.param} is not installed: make {request.param}")
    return request.param


def test_a_corpus_of_many_kinds(checkout, toolkit):
    (checkout.root / "model").mkdir()
    model, embed = MAKERS[toolkit](checkout.root / "model")
    checkout.xvector |= {
        "toolkit": toolkit,
        "pretrained_model": str(model),
        "n_shards": 1,
        "on_error": "skip",
    }
    speech, rate = soundfile.read(checkout.audio("alba_00"), dtype="float32")
    stereo = np.stack([speech, speech[::-1]], axis=1)
    soundfile.write(checkout.corpus / "stereo.wav", stereo[: 2 * rate], rate)
    soundfile.write(checkout.corpus / "low.wav", speech[:rate], 8000)
    soundfile.write(checkout.corpus / "high.flac", speech[:rate], 48000)
    soundfile.write(checkout.corpus / "short.wav", speech[:400], 16000)
    soundfile.write(checkout.corpus / "music.mp3", stereo, 44100)
    with checkout.manifest.open("a") as file:
        for name in ("stereo.wav", "low.wav", "high.flac", "short.wav", "music.mp3"):
            file.write(f"{Path(name).stem}\t{name}\twords\talba\n")
    printed = checkout.run_well()
    n_failed = 1 if toolkit in ("espnet", "transformers") else 0
    assert f"{13 - n_failed} embedded, 0 already embedded, {n_failed} failed" in printed
    vectors = checkout.vectors()
    assert ("short" in vectors) == (n_failed == 0)
    for name, vector in vectors.items():
        samples, rate = soundfile.read(checkout.audio(name), dtype="float32", always_2d=True)
        # 3D-Speaker's script takes the first channel. Of others the mean is resampled: the rounding
        # of each channel's resampling becomes 3e-4 of the embedding in a random RawNet3.
        samples = samples[:, :1] if toolkit == "onnx" else samples.mean(1, keepdims=True)
        expected = embed(AudioNormalizer()(torch.from_numpy(samples), rate))
        assert vector.dtype == torch.float32
        assert vector.shape == expected.shape == (24,)
        assert (vector - expected).abs().max() <= TOLERANCE * expected.abs().max()
    provenance = parse_provenance(read_provenance(checkout.embeddings / "alba_00.pt"))
    assert provenance["toolkit"] == toolkit
    assert provenance["toolkit_version"] == installed_version(TOOLKITS[toolkit].package)
    assert "Nothing to be done" in checkout.run_well()
    if toolkit == "espnet":
        reasons = [row[2] for row in checkout.rows("train.failed.tsv")[1:]]
        assert re.match(r"too short: .*short.wav has 0.0250 s, this encoder needs", reasons[0])


def test_a_damaged_checkpoint_ends_the_run_with_one_line(checkout):
    if missing_packages("rawnet"):
        pytest.skip("rawnet's packages are not installed: make rawnet")
    path = make_rawnet_checkpoint(checkout.root / "model.pt")
    path.write_bytes(path.read_bytes()[:1000])
    checkout.xvector |= {"toolkit": "rawnet", "pretrained_model": str(path)}
    checkout.run_badly()
    (log, *_) = (checkout.out / ".logs" / "embed_shard" / "train").glob("*.log")
    assert "cannot be read as weights" in log.read_text().splitlines()[-1]
    assert not checkout.vectors()


def test_a_graph_that_does_not_fit_is_refused_before_any_job(checkout):
    if missing_packages("onnx"):
        pytest.skip("onnxruntime is not installed: make onnx")
    path, _ = make_onnx(checkout.root)
    checkout.xvector |= {"toolkit": "onnx", "pretrained_model": str(path)}
    for changes, message in (
        ({"frontend": {"mel_bins": 40}}, "and xvector.frontend gives 40 values per frame"),
        ({"frontend": "raw"}, "and xvector.frontend gives samples"),
    ):
        checkout.xvector |= changes
        (error,) = checkout.run_badly()
        assert f"my.yaml: xvector.pretrained_model: {path}: takes feats" in error
        assert message in error
    assert not (checkout.root / "out").exists()


def test_another_front_end_embeds_again(checkout):
    if missing_packages("onnx"):
        pytest.skip("onnxruntime is not installed: make onnx")
    path, _ = make_onnx(checkout.root)
    checkout.xvector |= {"toolkit": "onnx", "pretrained_model": str(path), "n_shards": 1}
    assert "8 embedded, 0 already embedded" in checkout.run_well()
    checkout.xvector["frontend"] = "wespeaker"
    assert "8 embedded, 0 already embedded" in checkout.run_well()
    checkout.xvector["frontend"] = {"window": "hamming", "normalize_samples": False}
    assert "Nothing to be done" in checkout.run_well()


def test_a_toolkit_that_is_not_installed(checkout):
    (checkout.root / "envs" / "espnet.txt").write_text("not-there==1\n")
    checkout.xvector |= {"toolkit": "espnet", "pretrained_model": "espnet/voxcelebs12_rawnet3"}
    (error,) = checkout.run_badly()
    assert error.endswith(
        "my.yaml: xvector.toolkit: espnet needs packages that are not installed (not-there): "
        "make espnet"
    )


def test_the_encoder_that_comes_with_resemblyzer(checkout, tmp_path):
    if missing_packages("resemblyzer") or find_spec("librosa") is None:
        pytest.skip("Resemblyzer or librosa is not installed: make resemblyzer espnet")
    checkout.xvector |= {"toolkit": "resemblyzer", "n_shards": 1, "batch_size": 4}
    del checkout.xvector["pretrained_model"]
    checkout.run_well()
    vectors = checkout.vectors()
    names = sorted(vectors)
    paths = [checkout.audio(name) for name in names]
    expected = torch.from_numpy(embed_with_package(paths, tmp_path / "package.npy"))
    assert_close(torch.stack([vectors[name] for name in names]), expected)
    provenance = parse_provenance(read_provenance(checkout.embeddings / f"{names[0]}.pt"))
    assert provenance["toolkit_version"] == installed_version("Resemblyzer")
    assert "Nothing to be done" in checkout.run_well()
