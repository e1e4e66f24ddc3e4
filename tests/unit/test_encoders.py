import pytest
import torch

from xvectors.encoders import choose_device, has_bf16, load_encoder
from xvectors.errors import EncoderError


def test_bf16_only_where_the_processor_has_it(demo_encoder, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    with pytest.raises(EncoderError, match="bf16 is not native to this machine's cpu") as error:
        load_encoder("speechbrain", demo_encoder, "cpu", "bf16")
    assert len(str(error.value).splitlines()) == 1
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert has_bf16("cpu")


def test_a_toolkit_that_is_still_to_come(demo_encoder):
    with pytest.raises(EncoderError, match="toolkit espnet is not supported yet"):
        load_encoder("espnet", demo_encoder, "cpu", "fp32")


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda:0") == "cuda:0"
    with pytest.raises(EncoderError, match="no cuda:1 here, there are 1 GPUs"):
        choose_device("cuda:1")
