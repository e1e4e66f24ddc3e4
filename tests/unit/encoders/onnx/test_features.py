import numpy as np
import pytest
import torch

from tests.support.toolkit_models import speech
from xvectors.config.settings import FRONTENDS, Frontend
from xvectors.encoders import mels
from xvectors.encoders.onnx.features import make_extractor

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("frontend", "window", "scale"),
    [("wespeaker", "hamming", 32768), ("3dspeaker", "povey", 1), ("cosyvoice", "povey", 1)],
)
def test_filter_banks_are_kaldis(frontend, window, scale):
    graphs = pytest.importorskip("tests.support.onnx_graphs", reason="make onnx .venv/.dev")
    extract = make_extractor(FRONTENDS[frontend], CPU)
    for signal in speech([400, 559, 560, 50000]):
        found = extract(signal)
        expected = graphs.kaldi_features(signal.numpy(), window, scale)
        assert found.length == len(expected) == 1 + (len(signal) - 400) // 160
        np.testing.assert_allclose(found.values.numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("frontend", ["wespeaker", "nemo"])
def test_chunks_give_the_same(monkeypatch, frontend):
    (signal,) = speech([50000])
    extract = make_extractor(FRONTENDS[frontend], CPU)
    whole = extract(signal)
    monkeypatch.setattr(mels, "CHUNK_FRAMES", 7)
    torch.testing.assert_close(extract(signal).values, whole.values, atol=1e-4, rtol=1e-4)


def test_nemos_bands_have_mean_0_and_deviation_1():
    (signal,) = speech([50000])
    values, length = make_extractor(FRONTENDS["nemo"], CPU)(signal)
    assert (length, values.shape) == (312, (320, 80))
    assert values[:length].mean(0).abs().max() < 1e-4
    assert (values[:length].std(0) - 1).abs().max() < 1e-4
    assert (values[length:] == 0).all()


def test_a_single_frame_of_nemos_is_all_zeros():
    (signal,) = speech([200])
    values, length = make_extractor(FRONTENDS["nemo"], CPU)(signal)
    assert (length, values.shape) == (1, (16, 80))
    assert values.abs().max() == 0


def test_settings_change_what_they_name():
    (signal,) = speech([16000])

    def found(**settings) -> torch.Tensor:
        return make_extractor(Frontend.model_validate(settings), CPU)(signal).values

    plain = found()
    kept = found(subtract_mean=False)
    torch.testing.assert_close(kept - kept.mean(0), plain)
    # The logarithm of power: a scale adds a constant, unless it is subtracted with the mean.
    loud = found(subtract_mean=False, normalize_samples=False)
    torch.testing.assert_close(loud.mean() - kept.mean(), torch.tensor(20.79), atol=0.3, rtol=0)
    assert found(mel_bins=40).shape == (98, 40)
    assert not torch.allclose(found(window="hamming"), plain, atol=0.01)
    assert found(sample_rate=8000).shape[0] == 198
    raw = found(features="raw", normalize_samples=False)
    assert torch.equal(raw, signal * 32768)
    assert found(features="raw") is signal


@pytest.mark.parametrize(("frontend", "n_samples"), [("wespeaker", 399), ("nemo", 159)])
def test_less_than_a_frame_is_refused(frontend, n_samples):
    (signal,) = speech([n_samples])
    with pytest.raises(ValueError, match="shorter than a frame"):
        make_extractor(FRONTENDS[frontend], CPU)(signal)
