import pytest
import torch

from xvectors.encoders.prepacked import linear, prepack


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_products_are_those_of_a_linear_layer(relu, with_bias):
    torch.manual_seed(0)
    weight, x = torch.randn(24, 40), torch.randn(7, 40)
    bias = torch.randn(24) if with_bias else None
    prepacked = prepack(weight)
    if prepacked is None:
        pytest.skip("PyTorch was built without oneDNN")
    expected = torch.nn.functional.linear(x, weight, bias)
    expected = expected.relu() if relu else expected
    assert torch.allclose(linear(x, prepacked, bias, relu), expected, atol=1e-5)


def test_there_is_none_where_pytorch_cannot(monkeypatch):
    assert prepack(torch.empty(2, 3, device="meta")) is None
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert prepack(torch.ones(2, 3)) is None
