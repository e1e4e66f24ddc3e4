"""The device that an encoder computes on: which one, how exactly, and without waiting for it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from xvectors.errors import EncoderError, first_line

# Of what is larger, hours of audio, no copy is made from which a GPU could copy by itself.
MAX_PINNED_BYTES = 2**28
# The words of cuFFT, cuDNN and cuBLAS where memory is short (ATen/native/cuda/CuFFTUtils.h,
# ATen/cuda/Exceptions.h).
LIBRARIES_WITHOUT_MEMORY = (
    "cuFFT error",
    "cuDNN error",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)
# The share of a GPU's memory that one process may have if no other needs much.
MOSTLY = 0.8


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


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether a GPU has no memory left, for PyTorch or for one of CUDA's libraries.

    Those have memory of their own, and not always a name for the lack of it.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(sign in str(error) for sign in LIBRARIES_WITHOUT_MEMORY)


def free_unused_memory(device: torch.device) -> None:
    """Give back the memory of a GPU that PyTorch keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def is_mostly_free(device: torch.device) -> bool:
    """Tell whether no other process has much of a GPU's memory."""
    if device.type != "cuda":
        return True
    free, total = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) >= MOSTLY * total


def why_no_gpu() -> str:
    """Return what PyTorch says of why it can use no GPU."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return first_line(error)
    return "no reason is known"


def has_bf16(device: str) -> bool:
    """Tell whether a device multiplies bf16 matrices natively."""
    if device == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    with torch.cuda.device(device):
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
