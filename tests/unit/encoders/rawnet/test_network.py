"""RawNet3 against the layers that ESPnet has of it, with the same random weights."""

import pytest
import torch

from xvectors.config.toolkits import missing_packages

if missing_packages("espnet"):
    pytest.skip("ESPnet is not installed: make espnet", allow_module_level=True)

from espnet2.asr.frontend.asteroid_frontend import AsteroidFrontend
from espnet2.spk.encoder.rawnet3_encoder import RawNet3Encoder
from espnet2.spk.pooling.chn_attn_stat_pooling import ChnAttnStatPooling

from tests.support.toolkit_models import make_rawnet_checkpoint
from xvectors.encoders.rawnet.network import RawNet3


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = make_rawnet_checkpoint(tmp_path_factory.mktemp("rawnet") / "model.pt")
    return torch.load(path, weights_only=True)["model"]


@pytest.fixture(scope="module")
def network(weights):
    network = RawNet3.shaped_like(weights)
    network.load_state_dict({n: w for n, w in weights.items() if n[:4] not in ("bn1.", "bn6.")})
    return network.eval()


def part(weights, *prefixes):
    return {name: value for name, value in weights.items() if name.startswith(prefixes)}


def close(found, expected, tolerance=1e-5):
    return (found - expected).abs().max() <= tolerance * expected.abs().max()


@torch.inference_mode()
def test_layer_by_layer(weights, network):
    signals = torch.randn(3, 16000, generator=torch.Generator().manual_seed(1))
    frontend = AsteroidFrontend(sinc_filters=16, sinc_stride=10)
    names = {"preprocess.0.": "", "preprocess.1.": "norm.", "conv1.": "conv."}
    found = part(weights, *names)
    for ours, theirs in names.items():
        found = {name.replace(ours, theirs): value for name, value in found.items()}
    frontend.load_state_dict(found)
    expected, _ = frontend(signals, torch.full([3], 16000))
    features = network.features(signals)
    assert close(features, expected.transpose(1, 2))

    encoder = RawNet3Encoder(input_size=16, ndim=64, output_size=96).eval()
    encoder.load_state_dict(part(weights, "layer"))
    first = encoder.layer1(features)
    assert close(network.layer1(features), first)
    second = encoder.layer2(first)
    assert close(network.layer2(first), second)
    third = encoder.layer3(encoder.mp3(first) + second)
    assert close(network.layer3(encoder.mp3(first) + second), third)
    frames = encoder(expected)
    assert close(network.frames(features), frames)

    # ESPnet divides the variance by the number of frames, not by one less.
    pooling = ChnAttnStatPooling(96).eval()
    pooling.load_state_dict(part(weights, "attention"))
    pooled = []
    network.bn5.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
    embeddings = network.pool(frames)
    assert close(pooled[0], pooling(frames), tolerance=1 / frames.shape[-1])
    assert embeddings.shape == (3, 24)


def test_the_published_size():
    shapes = {name: tuple(value.shape) for name, value in RawNet3().state_dict().items()}
    assert shapes["conv1.filterbank.low_hz_"] == (128, 1)
    assert shapes["layer1.residual.0.weight"] == (1024, 256, 1)
    assert shapes["layer3.convs.6.weight"] == (128, 128, 3)
    assert shapes["layer3.afms.alpha"] == (1024, 1)
    assert shapes["layer4.weight"] == (1536, 3072, 1)
    assert shapes["attention.0.weight"] == (128, 4608, 1)
    assert shapes["attention.3.weight"] == (1536, 128, 1)
    assert shapes["fc6.weight"] == (256, 3072)
