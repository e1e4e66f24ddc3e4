import pytest
import torch

from xvectors.encoders import toolkits
from xvectors.encoders.encoder import choose_device, has_bf16, load_encoder
from xvectors.errors import EncoderError


def test_bf16_only_where_the_processor_has_it(demo_encoder, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    with pytest.raises(EncoderError, match="bf16 is not native to this machine's cpu") as error:
        load_encoder("speechbrain", demo_encoder, "cpu", "bf16")
    assert len(str(error.value).splitlines()) == 1
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert has_bf16("cpu")


@pytest.mark.parametrize(
    ("toolkit", "message"),
    [
        ("kaldi", "no toolkit is named kaldi, there are speechbrain, espnet, rawnet"),
        ("espnet", r"espnet needs packages that are not installed \(not-there\): make espnet"),
    ],
)
def test_a_toolkit_that_is_not_there(demo_encoder, tmp_path, monkeypatch, toolkit, message):
    (tmp_path / "espnet.txt").write_text("not-there==1.0\n")
    monkeypatch.setattr(toolkits, "ENVS", tmp_path)
    with pytest.raises(EncoderError, match=message):
        load_encoder(toolkit, demo_encoder, "cpu", "fp32")


def test_the_size_of_embeddings(demo_encoder):
    assert load_encoder("speechbrain", demo_encoder, "cpu", "fp32").embedding_size == 192


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda:0") == "cuda:0"
    with pytest.raises(EncoderError, match="no cuda:1 here, there are 1 GPUs"):
        choose_device("cuda:1")
