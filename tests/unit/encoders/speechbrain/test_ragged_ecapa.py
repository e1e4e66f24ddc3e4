import pytest
import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

from tests.support.closeness import assert_close
from xvectors.encoders.speechbrain.ragged_ecapa import RaggedEcapa, is_covered


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


@pytest.mark.parametrize("activation", [torch.nn.LeakyReLU, torch.nn.ReLU])
def test_only_what_is_computed_alike_is_covered(activation):
    model = ECAPA_TDNN(20, channels=[16] * 5, activation=activation)
    assert is_covered(model) == (activation is torch.nn.ReLU)
    assert not is_covered(torch.nn.Linear(2, 2))
