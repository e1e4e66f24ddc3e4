"""The device that an encoder computes on: which one, how exactly, and without waiting for it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from xvectors.errors import EncoderError

# Of what is larger, hours of audio, no copy is made from which a GPU could copy by itself.
MAX_PINNED_BYTES = 2**28


@contextmanager
def float32_products() -> Iterator[None]:
    """Let GPUs compute products in float32 for now, whatever the precision is."""
    allowed = torch.backends.cuda.matmul.allow_tf32
    allow_tf32(False)
    try:
        yield
    finally:
        allow_tf32(allowed)


def allow_tf32(allowed: bool) -> None:
    """Let GPUs round float32 products to TF32, or not, from now on."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def copy_to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor of the CPU on a device, without waiting for what that has to do before."""
    if device.type == "cuda" and tensor.nbytes <= MAX_PINNED_BYTES:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def record_event(device: torch.device) -> torch.cuda.Event | None:
    """Return an event after all that a GPU has to do by now, for which one waits idly.

    PyTorch itself would keep a processor busy with waiting.
    """
    if device.type != "cuda":
        return None
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def has_bf16(device: str) -> bool:
    """Tell whether a device multiplies bf16 matrices natively."""
    if device == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def choose_device(device: str | None) -> str:
    """Return `device`, or, for None, ``cuda`` where there is a GPU and ``cpu`` elsewhere.

    Raises:
        EncoderError: A GPU is asked for that is not there.

    """
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu":
        number = int(device.partition(":")[2] or 0)
        n_gpus = torch.cuda.device_count()
        if number >= n_gpus:
            raise EncoderError(f"xvector.device: no {device} here, there are {n_gpus} GPUs")
    return device
