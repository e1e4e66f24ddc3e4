"""Products with weights in oneDNN's own layout.

These operations are PyTorch's internal ones, which ``torch.compile`` uses. On a CPU they reach
about twice the speed of ``functional.linear`` in float32, see docs/measurements/cpu.md.
"""

import torch

# Frames of a product that a processor is asked to be ready for.
USUAL_FRAMES = 3000


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
