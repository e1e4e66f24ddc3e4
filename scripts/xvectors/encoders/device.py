"""The device that an encoder computes on: its choice, its arithmetic, its memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy
import torch

from xvectors.errors import EncoderError, first_line

# Larger tensors, hours of audio, are not copied to pinned memory first.
MAX_PINNED_BYTES = 2**28
# Messages of CUDA, cuFFT, cuDNN and cuBLAS that may mean a lack of memory
# (ATen/native/cuda/CuFFTUtils.h, ATen/cuda/Exceptions.h, ATen/native/cudnn/Conv_v8.cpp).
OUT_OF_MEMORY_SIGNS = (
    "CUDA error: out of memory",
    "CUDA out of memory",
    # Where the memory that may be locked is limited.
    "OS call failed or operation not supported on this OS",
    "cuFFT error",
    "cuDNN error",
    "unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)
# cuFFT keeps a plan for each shape, 4,096 by default, in memory of the GPU that is not PyTorch's.
MAX_FFT_PLANS = 64
# Share of a GPU's memory that one process can have if no other needs much.
MOSTLY = 0.8


@contextmanager
def tf32_products(allowed: bool) -> Iterator[None]:
    """Temporarily allow GPUs to round float32 products to TF32, or forbid it.

    PyTorch has one switch for the whole process, so only one thread at a time may do this.
    """
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = allowed
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


@contextmanager
def float32_products() -> Iterator[None]:
    """Temporarily disable TF32."""
    with tf32_products(False):
        yield


def copy_to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor from the CPU to a device without waiting for the device's other work.

    If no memory can be pinned, the copy waits.
    """
    if device.type == "cuda" and tensor.nbytes <= MAX_PINNED_BYTES:
        try:
            tensor = tensor.pin_memory()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
    return tensor.to(device, non_blocking=True)


def copy_to_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor to the CPU without waiting; it is there when the device has got so far.

    If no memory can be pinned, the copy waits.
    """
    try:
        return tensor.to("cpu", non_blocking=True)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return tensor.cpu()


class Uploads:
    """Copies of signals to a device, beside the computations there."""

    def __init__(self, device: torch.device) -> None:
        """Take the device. On a CPU nothing is copied."""
        self._device = device
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def start(self, signals: Sequence[torch.Tensor]) -> Callable[[], list[torch.Tensor]]:
        """Copy signals, float32, (samples,) each, all at once and without waiting.

        Returns:
            A function that returns the signals on the device. Work that the device is given after
            the call waits for them, so call it where no other thread gives work to the device.

        """
        if self._stream is None or all(one.device.type == "cuda" for one in signals):
            return lambda: list(signals)
        with torch.cuda.stream(self._stream):
            joined = _join(signals).to(self._device, non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(self._stream)
        parts = list(torch.split(joined, [len(one) for one in signals]))

        def wait() -> list[torch.Tensor]:
            stream = torch.cuda.current_stream(joined.device)
            stream.wait_event(arrived)
            joined.record_stream(stream)
            return parts

        return wait


def _join(signals: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return signals one after the other, in pinned memory if there is any."""
    arrays = [signal.cpu().numpy() for signal in signals]
    joined = _empty_pinned(sum(map(len, arrays)))
    numpy.concatenate(arrays, out=joined.numpy())
    return joined


def _empty_pinned(n_samples: int) -> torch.Tensor:
    """Return memory for float32 samples, pinned unless it is large or cannot be pinned."""
    if n_samples * torch.float32.itemsize <= MAX_PINNED_BYTES:
        try:
            return torch.empty(n_samples, pin_memory=True)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
    return torch.empty(n_samples)


def limit_fft_plans(device: torch.device) -> None:
    """Let cuFFT keep the plans of few shapes."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.backends.cuda.cufft_plan_cache[index].max_size = MAX_FFT_PLANS


def record_event(device: torch.device) -> torch.cuda.Event | None:
    """Record an event after all work that a GPU has been given; return None for a CPU.

    Waiting for this event leaves the processor idle. PyTorch's default would keep it busy.
    """
    if device.type != "cuda":
        return None
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether a GPU has no memory left, for PyTorch or for one of CUDA's libraries.

    The libraries allocate memory of their own, and often report a lack of it in other words.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(sign in str(error) for sign in OUT_OF_MEMORY_SIGNS)


def free_unused_memory(device: torch.device) -> None:
    """Return to the GPU the memory that PyTorch keeps for later use."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def is_mostly_free(device: torch.device) -> bool:
    """Tell whether other processes use little of a GPU's memory."""
    if device.type != "cuda":
        return True
    free, total = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) >= MOSTLY * total


def why_no_gpu() -> str:
    """Return the reason that PyTorch gives for not using a GPU."""
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
    """Return `device`, or for None ``cuda`` if there is a GPU and ``cpu`` otherwise.

    Raises:
        EncoderError: The GPU does not exist, or this build of PyTorch does not support it.

    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device != "cpu":
        number = int(device.partition(":")[2] or 0)
        n_gpus = torch.cuda.device_count()
        if number >= n_gpus:
            raise EncoderError(
                f"xvector.device: there is no {device}, the number of GPUs here is {n_gpus}"
            )
    if device != "cpu":
        _check_architecture(device)
    return device


def _check_architecture(device: str) -> None:
    """Raise EncoderError if this build of PyTorch has no code for a GPU."""
    built = torch.cuda.get_arch_list()
    if not built:
        return
    capability = torch.cuda.get_device_capability(device)
    if not any(_runs_on(capability, *architecture.split("_")) for architecture in built):
        raise EncoderError(
            f"xvector.device: this build of PyTorch has no code for {device}, whose compute "
            f"capability is {capability[0]}.{capability[1]} (it has {', '.join(built)}); install a "
            "build that has it, or use xvector.device: cpu"
        )


def _runs_on(capability: tuple[int, int], kind: str, version: str) -> bool:
    """Tell whether a GPU runs code of an architecture such as ``sm_90a`` or ``compute_120``."""
    major, minor = divmod(int(version.rstrip("af")), 10)
    if kind == "compute":  # PTX, which newer GPUs compile for themselves
        return (major, minor) <= capability
    return major == capability[0] and minor <= capability[1]
