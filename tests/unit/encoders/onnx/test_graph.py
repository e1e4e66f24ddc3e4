import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from xvectors.config.toolkits import missing_packages

if missing_packages("onnx") or not (find_spec("onnx") and find_spec("kaldi_native_fbank")):
    pytest.skip(
        "onnxruntime or onnx is not installed: make onnx .venv/.dev", allow_module_level=True
    )

from torch import nn

from tests.support.onnx_graphs import (
    NEMO,
    SPEAKER_3D,
    WESPEAKER,
    CamPlusPlus,
    Companions,
    Waveform,
    add_metadata,
    export,
    export_titanet,
    session,
    write_graph,
)
from xvectors.config.settings import FRONTENDS, Frontend
from xvectors.encoders.onnx.graph import Graph, check_graph
from xvectors.errors import EncoderError


class Frames(nn.Module):
    """Gives a vector per frame."""

    def forward(self, feats: torch.Tensor) -> torch.Tensor:
        return feats * 2


class Nothing(nn.Module):
    """Divides by zero."""

    def forward(self, feats: torch.Tensor) -> torch.Tensor:
        return feats.mean(1) / feats.mean(1).sub(feats.mean(1))


class Two(nn.Module):
    def forward(self, feats: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return feats.mean(1) + others.mean(1)


class TwoOutputs(nn.Module):
    def forward(self, feats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return feats.mean(1), feats.square().mean(1)


@pytest.fixture(scope="module")
def campplus(tmp_path_factory) -> Path:
    return export(CamPlusPlus(), tmp_path_factory.mktemp("graph") / "campplus.onnx")


def assert_refused(path: Path, frontend: str | Frontend | None, message: str) -> None:
    chosen = FRONTENDS[frontend] if isinstance(frontend, str) else frontend
    with pytest.raises(EncoderError, match=message) as error:
        check_graph(path, chosen)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_graph_gives_what_the_runtime_gives(campplus):
    graph = Graph(campplus, FRONTENDS["3dspeaker"])
    features = np.random.default_rng(0).normal(size=(3, 70, 80)).astype("float32")
    (expected,) = session(campplus).run(None, {"feats": features})
    np.testing.assert_allclose(graph.run(features, 70), expected, atol=1e-6)
    assert graph.max_batch is None


def test_without_a_front_end_it_is_refused_with_the_list(campplus):
    names = "wespeaker, 3dspeaker, cosyvoice, nemo, raw, or to a map of settings"
    assert_refused(
        campplus, None, f"do not name its front end; set xvector.frontend to one of {names}"
    )


@pytest.mark.parametrize(
    ("metadata", "frontend"),
    [
        (WESPEAKER, FRONTENDS["wespeaker"]),
        ({"framework": "wespeaker", "feature_normalize_type": ""}, FRONTENDS["wespeaker"]),
        (
            {"framework": "wespeaker", "normalize_samples": "1", "sample_rate": "8000"},
            Frontend.model_validate({"window": "hamming", "sample_rate": 8000}),
        ),
        (SPEAKER_3D, FRONTENDS["3dspeaker"]),
    ],
)
def test_metadata_describe_a_front_end(tmp_path, metadata, frontend):
    path = export(CamPlusPlus(), tmp_path / "model.onnx", metadata=metadata)
    assert Graph(path, None).frontend == frontend
    # What is configured wins.
    assert Graph(path, FRONTENDS["cosyvoice"]).frontend == FRONTENDS["cosyvoice"]


def test_metadata_of_nemos(tmp_path):
    path = export_titanet(tmp_path / "titanet.onnx", metadata=NEMO)
    assert Graph(path, None).frontend == FRONTENDS["nemo"]
    add_metadata(path, NEMO | {"window_type": "hamming"})
    assert_refused(path, None, "its metadata say window_type: hamming, which nemo does not have")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"framework": "mine"}, "its metadata name the framework 'mine'; set xvector.frontend to"),
        (
            SPEAKER_3D | {"feature_normalize_type": "per_feature"},
            "say feature_normalize_type: per_feature, which 3dspeaker does not have; set",
        ),
        (WESPEAKER | {"sample_rate": "16k"}, "that is not a whole number; set xvector.frontend"),
        (WESPEAKER | {"output_dim": "192"}, "state 192 values per embedding, it gives 24"),
    ],
)
def test_metadata_that_do_not_fit(tmp_path, metadata, message):
    path = export(CamPlusPlus(), tmp_path / "model.onnx", metadata=metadata)
    assert_refused(path, None, message)


@pytest.mark.parametrize(
    ("network", "frontend", "message"),
    [
        (CamPlusPlus, "raw", r"takes feats: float \(B, T, 80\), and xvector.frontend gives samp"),
        (
            CamPlusPlus,
            Frontend.model_validate({"mel_bins": 40}),
            r"takes feats: float \(B, T, 80\), and xvector.frontend gives 40 values per frame",
        ),
        (Waveform, "wespeaker", r"takes feats: float \(B, T\), and xvector.frontend gives frames"),
        (Frames, "wespeaker", "output embs depends on the length of the signal"),
        (Nothing, "wespeaker", "gives NaN or infinite numbers for noise"),
    ],
)
def test_what_does_not_fit_the_front_end(tmp_path, network, frontend, message):
    assert_refused(export(network(), tmp_path / "model.onnx"), frontend, message)


def test_inputs_and_outputs_of_another_kind(tmp_path):
    feats = torch.randn(1, 200, 80)
    for network, arguments, inputs, outputs, message in (
        (Two(), (feats, feats), ["a", "b"], ["embs"], "a speaker encoder takes a signal or its"),
        (TwoOutputs(), (feats,), ["a"], ["b", "c"], "gives b: .*, c: .*; a speaker encoder gives"),
        (CamPlusPlus(), (feats.repeat(4, 1, 1),), ["a"], ["b"], "takes 4 signals at a time"),
        (CamPlusPlus(), (feats,), ["a"], ["b"], "takes signals of one length only"),
    ):
        axes = {"a": {1: "T"}} if "length" not in message else {}
        path = tmp_path / "model.onnx"
        write_graph(network, arguments, path, (inputs, outputs), axes)
        assert_refused(path, "wespeaker", message)


def test_bins_before_frames_are_told_by_their_number(tmp_path):
    class Transposed(CamPlusPlus):
        def forward(self, feats):
            return super().forward(feats.transpose(1, 2))

    path = tmp_path / "model.onnx"
    torch.manual_seed(0)
    arguments, axes = (torch.randn(1, 80, 200),), {"x": {0: "B", 2: "T"}}
    write_graph(Transposed(), arguments, path, (["x"], ["y"]), axes)
    graph = Graph(path, FRONTENDS["3dspeaker"])
    features = np.random.default_rng(0).normal(size=(2, 70, 80)).astype("float32")
    (expected,) = session(path).run(None, {"x": features.transpose(0, 2, 1)})
    np.testing.assert_allclose(graph.run(features, 70), expected, atol=1e-6)


def test_companions_that_matter_are_noticed(tmp_path):
    graph = Graph(export(Companions(), tmp_path / "a.onnx"), FRONTENDS["3dspeaker"])
    assert graph.max_batch == 1


def test_a_fixed_batch_of_one(tmp_path):
    path = export(CamPlusPlus(), tmp_path / "a.onnx", is_batch_fixed=True)
    assert Graph(path, FRONTENDS["3dspeaker"]).max_batch == 1


def test_files_that_are_cut_off_or_of_another_kind(campplus, tmp_path):
    bad = tmp_path / "bad.onnx"
    content = campplus.read_bytes()
    for damaged in (content[:5000], b"", b"no graph at all"):
        bad.write_bytes(damaged)
        assert_refused(bad, "wespeaker", "onnxruntime [0-9.]+ cannot load it")


def test_weights_in_a_file_beside_that_is_missing(campplus, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(campplus)
    path = tmp_path / "model.onnx"
    beside = {"save_as_external_data": True, "location": "model.onnx.data", "size_threshold": 0}
    onnx.save(model, path, **beside)
    assert Graph(tmp_path, FRONTENDS["wespeaker"]).path == path
    (tmp_path / "model.onnx.data").unlink()
    assert_refused(path, "wespeaker", "cannot load it: .*model.onnx.data")


def test_a_folder_must_have_one_graph(campplus, tmp_path):
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(campplus.read_bytes())
    assert_refused(
        tmp_path,
        "wespeaker",
        re.escape("2 .onnx files where one is needed (a.onnx, b.onnx); give the"),
    )


def test_a_gpu_that_the_runtime_cannot_use(campplus):
    with pytest.raises(EncoderError, match=r"cannot use cuda:1 here .*; use xvector.device: cpu"):
        Graph(campplus, FRONTENDS["wespeaker"], "cuda:1")


def test_what_fails_on_some_input_is_an_error_of_that_input(campplus, monkeypatch):
    graph = Graph(campplus, FRONTENDS["wespeaker"])
    features = np.zeros((1, 50, 40), np.float32)
    with pytest.raises(RuntimeError, match=r"onnxruntime: .*INVALID_ARGUMENT"):
        graph.run(features, 50)

    class Full:
        def run(self, *_):
            raise ValueError("Non-zero status code: Failed to allocate memory for requested buffer")

    monkeypatch.setattr(graph, "_session", Full())
    with pytest.raises(MemoryError):
        graph.run(np.zeros((1, 50, 80), np.float32), 50)
