"""Products with weights in oneDNN's own layout.

These operations are PyTorch's internal ones, which ``torch.compile`` uses. On AMD's processors they
reach about twice the speed of ``functional.linear`` in float32; on Intel's they gain nothing there,
and cost a millisecond for each new number of frames. See docs/measurements/cpu.md.
"""

import time
from collections.abc import Callable
from functools import cache

import torch
from torch.nn import functional

# Frames of a product that a processor is asked to be ready for.
USUAL_FRAMES = 3000
# Shape of the product by which the two are compared, which takes some milliseconds, and how often
# it is computed, because a processor may be disturbed.
FRAMES, CHANNELS, N_TRIALS = 500, 512, 5
# Least gain in speed for which prepacked weights are used.
GAIN = 1.3


def prepack_if_faster(weight: torch.Tensor) -> torch.Tensor | None:
    """Return a weight, (outputs, inputs), in oneDNN's layout, or None where that does not help."""
    return prepack(weight) if weight.device.type == "cpu" and is_faster(weight.dtype) else None


@cache
def is_faster(dtype: torch.dtype) -> bool:
    """Tell whether prepacked products are faster than plain ones, by trying both."""
    x = torch.ones(FRAMES, CHANNELS, dtype=dtype)
    weight = torch.ones(CHANNELS, CHANNELS, dtype=dtype)
    prepacked = prepack(weight)
    if prepacked is None or dtype == torch.bfloat16:
        # A plain product in bfloat16 takes longer for each new number of frames, as batches have.
        return prepacked is not None
    plain = _seconds(lambda: functional.linear(x, weight))
    return _seconds(lambda: linear(x, prepacked)) * GAIN < plain


def _seconds(product: Callable[[], torch.Tensor]) -> float:
    """Return the shortest time that a product takes."""
    times = []
    for _ in range(N_TRIALS):
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    return min(times)


def prepack(weight: torch.Tensor) -> torch.Tensor | None:
    """Return a weight, (outputs, inputs), in oneDNN's layout, or None where PyTorch has none."""
    is_available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if weight.device.type != "cpu" or not is_available:
        return None
    try:
        prepacked: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, USUAL_FRAMES)
        linear(weight.new_zeros(1, weight.shape[1]), prepacked)
    except (AttributeError, RuntimeError):
        return None
    return prepacked


def linear(
    x: torch.Tensor, prepacked: torch.Tensor, bias: torch.Tensor | None = None, relu: bool = False
) -> torch.Tensor:
    """Return ``x @ weight.T + bias`` of a prepacked weight, with a ReLU if asked for."""
    activation = "relu" if relu else "none"
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
        x, prepacked, bias, activation, [], ""
    )
    return product
