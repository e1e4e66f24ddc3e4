import pytest
import torch

from xvectors.config.toolkits import missing_packages

if missing_packages("espnet"):
    pytest.skip("ESPnet is not installed: make espnet", allow_module_level=True)

from espnet2.bin.spk_inference import Speech2Embedding

from tests.support.closeness import assert_close
from tests.support.toolkit_models import CHECKPOINT, make_espnet_encoder, speech
from xvectors.encoders import ragged_rawnet
from xvectors.encoders.espnet.ragged import RaggedModel, is_covered

SECONDS = (0.3, 1.0, 0.05, 2.71, 1.0)


@pytest.fixture(scope="module", params=["rawnet3", "ecapa"])
def model(request, tmp_path_factory):
    folder = make_espnet_encoder(tmp_path_factory.mktemp(request.param), request.param)
    return Speech2Embedding(folder / "config.yaml", folder / CHECKPOINT).spk_model


@pytest.mark.parametrize("padded", [False, True])
@torch.inference_mode()
def test_companions_do_not_matter(model, padded):
    signals = speech([int(16000 * seconds) for seconds in SECONDS])
    expected = torch.cat([model(one[None], extract_embd=True) for one in signals])
    ragged = RaggedModel(model, torch.float32, padded)
    features, n_told = zip(*[model.extract_feats(one[None]) for one in signals], strict=True)
    for order in (range(len(signals)), reversed(range(len(signals)))):
        some = list(order)
        batch, frames = ragged.encode([features[i][0] for i in some])
        pooled = ragged.pool(batch, frames, torch.cat([n_told[i] for i in some]))
        assert_close(model.project_spk_embd(pooled), expected[some])


@torch.inference_mode()
def test_pieces_of_long_signals_do_not_matter(model, monkeypatch):
    (signal,) = speech([40007])
    features, n_told = model.extract_feats(signal[None])
    expected = model(signal[None], extract_embd=True)
    for n_frames in (30, 101, 600):
        monkeypatch.setattr(ragged_rawnet, "CPU_PIECE_FRAMES", n_frames)
        for padded in (False, True):
            ragged = RaggedModel(model, torch.float32, padded)
            batch, frames = ragged.encode([features[0]])
            assert_close(model.project_spk_embd(ragged.pool(batch, frames, n_told)), expected)


def test_only_what_is_computed_alike_is_covered(model, monkeypatch):
    assert is_covered(model)
    monkeypatch.setattr(model, "pooling", torch.nn.Identity())
    assert not is_covered(model)
