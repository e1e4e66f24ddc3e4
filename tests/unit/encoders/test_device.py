import pytest
import torch

from xvectors.encoders.device import choose_device, float32_products
from xvectors.encoders.encoder import load_encoder
from xvectors.errors import EncoderError


def test_float32_whatever_the_precision(demo_encoder):
    load_encoder("speechbrain", demo_encoder, "cpu", "tf32")
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    assert [backend.allow_tf32 for backend in backends] == [True, True]
    with pytest.raises(ValueError, match="wrong"), float32_products():
        assert [backend.allow_tf32 for backend in backends] == [False, False]
        raise ValueError("wrong")
    assert [backend.allow_tf32 for backend in backends] == [True, True]
    load_encoder("speechbrain", demo_encoder, "cpu", "fp32")
    assert [backend.allow_tf32 for backend in backends] == [False, False]


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda:0") == "cuda:0"
    with pytest.raises(EncoderError, match="no cuda:1 here, there are 1 GPUs"):
        choose_device("cuda:1")
