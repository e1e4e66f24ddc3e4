import threading

import pytest
import torch

from xvectors.encoders.device import (
    choose_device,
    copy_to_device,
    float32_products,
    is_out_of_memory,
    tf32_products,
)
from xvectors.encoders.encoder import load_encoder
from xvectors.errors import EncoderError

BACKENDS = torch.backends.cuda.matmul, torch.backends.cudnn


@pytest.fixture
def mixed():
    """PyTorch's default: TF32 for convolutions and not for matrix products."""
    before = allowed()
    BACKENDS[0].allow_tf32, BACKENDS[1].allow_tf32 = False, True
    yield
    BACKENDS[0].allow_tf32, BACKENDS[1].allow_tf32 = before


def allowed():
    return [backend.allow_tf32 for backend in BACKENDS]


def test_tf32_is_switched_for_a_while(mixed):
    with pytest.raises(ValueError, match="wrong"), tf32_products(True):
        assert allowed() == [True, True]
        with float32_products():
            assert allowed() == [False, False]
        assert allowed() == [True, True]
        raise ValueError("wrong")
    assert allowed() == [False, True]


def test_precision_belongs_to_the_call_not_to_the_process(demo_encoder, mixed):
    """Encoders of two precisions compute in turn and at once, each in its own."""
    encoders = {name: load_encoder("speechbrain", demo_encoder, "cpu", name) for name in PRECISIONS}
    assert allowed() == [False, True]
    noted = {name: set() for name in encoders}
    for name, encoder in encoders.items():
        note_network(encoder, noted[name])
    threads = [
        threading.Thread(target=embed_often, args=(encoder,)) for encoder in encoders.values()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert noted == {"fp32": {(False, False)}, "tf32": {(True, True)}}
    assert allowed() == [False, True]


PRECISIONS = ("fp32", "tf32")


def note_network(encoder, noted):
    embed = encoder.ragged.embed

    def noting(features):
        noted.add(tuple(allowed()))
        embeddings = embed(features)
        noted.add(tuple(allowed()))
        return embeddings

    encoder.ragged.embed = noting


def embed_often(encoder):
    for _ in range(10):
        encoder.embed([torch.zeros(4000)])


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda:0") == "cuda:0"
    with pytest.raises(EncoderError, match="there is no cuda:1, the number of GPUs here is 1"):
        choose_device("cuda:1")


@pytest.mark.parametrize(
    ("capability", "built", "is_known"),
    [
        ((7, 0), ["sm_75", "sm_90", "compute_120"], False),
        ((7, 5), ["sm_75", "sm_90"], True),
        ((8, 9), ["sm_80", "sm_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((12, 1), ["sm_90", "compute_120"], True),
        ((10, 0), ["sm_90", "compute_120"], False),
    ],
)
@pytest.mark.parametrize("device", [None, "cuda:0"])
def test_a_gpu_that_this_pytorch_has_no_code_for(monkeypatch, capability, built, is_known, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    if is_known:
        assert choose_device(device) == (device or "cuda")
        return
    version = f"compute capability is {capability[0]}.{capability[1]}"
    with pytest.raises(EncoderError, match=f"has no code for cuda.*, whose {version}") as error:
        choose_device(device)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_every_spelling_of_a_lack_of_memory(error, expected):
    assert is_out_of_memory(error) == expected


class Pageable:
    """A tensor that cannot be pinned."""

    nbytes = 4

    def __init__(self, message):
        self.message = message

    def pin_memory(self):
        raise RuntimeError(self.message)

    def to(self, device, non_blocking):
        return device


def test_memory_that_cannot_be_pinned_is_copied_as_it_is():
    device = torch.device("cuda")
    assert copy_to_device(Pageable("CUDA error: out of memory"), device) == device
    with pytest.raises(RuntimeError, match="illegal memory access"):
        copy_to_device(Pageable("CUDA error: an illegal memory access"), device)
