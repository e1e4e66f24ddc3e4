import pytest
import torch
from speechbrain.lobes.models.ResNet import ResNet

from tests.support.closeness import assert_close
from xvectors.encoders.ragged import Padded
from xvectors.encoders.speechbrain.padded_resnet import PaddedResNet

LENGTHS = (1, 5, 120, 33, 64, 2, 121)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = ResNet(input_size=24, channels=[8, 8, 16, 16], block_sizes=[2, 1, 1, 1], lin_neurons=16)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


@torch.inference_mode()
def test_companions_do_not_matter(model):
    features = [torch.randn(n, 24) for n in LENGTHS]
    expected = torch.cat([model(one[None]) for one in features])
    form = PaddedResNet(model, torch.float32)
    assert_close(form.embed(features), expected)
    assert_close(form.embed(features[::-1]).flip(0), expected)
    values = torch.nn.utils.rnn.pad_sequence(features, batch_first=True, padding_value=7)
    lengths = torch.tensor(LENGTHS)
    assert_close(form.embed(Padded(values, lengths, lengths)), expected)


@torch.inference_mode()
def test_bf16_stays_close(model):
    features = [torch.randn(n, 24) for n in LENGTHS if n > 30]
    exact = PaddedResNet(model, torch.float32).embed(features)
    rounded = PaddedResNet(model, torch.bfloat16).embed(features)
    assert rounded.dtype == torch.float32
    assert torch.cosine_similarity(exact, rounded).min() >= 0.999


def test_memory(model):
    assert PaddedResNet(model, torch.float32).bytes_per_frame == 4 * 6 * 8 * 24
