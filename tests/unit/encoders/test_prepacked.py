import pytest
import torch

from xvectors.encoders import prepacked as prepacked_module
from xvectors.encoders.prepacked import linear, prepack, prepack_if_faster


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


@pytest.mark.parametrize("is_faster", [False, True])
def test_they_are_used_where_they_are_faster(monkeypatch, is_faster):
    if prepack(torch.ones(2, 3)) is None:
        pytest.skip("PyTorch was built without oneDNN")
    times = iter([1.0, 0.5 if is_faster else 0.9])
    monkeypatch.setattr(prepacked_module, "_seconds", lambda product: next(times))
    prepacked_module.is_faster.cache_clear()
    assert (prepack_if_faster(torch.ones(2, 3)) is not None) == is_faster
    prepacked_module.is_faster.cache_clear()
    assert prepack_if_faster(torch.empty(2, 3, device="meta")) is None


def test_in_bfloat16_they_are_always_used():
    weight = torch.ones(2, 3, dtype=torch.bfloat16)
    assert (prepack_if_faster(weight) is None) == (prepack(weight) is None)
