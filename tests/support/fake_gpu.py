"""Tensors of a GPU that is not there: they have a device and a shape, but no content.

PyTorch's fake tensors refuse operations on two devices. Here operations are also noted, because
each is work for the processor, and some make it wait for the GPU.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensor, FakeTensorMode
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda", 0)
# They make the processor wait until the GPU has got so far.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "unique", "equal")
# Names of operations that only look at memory in another way, or take some.
VIEWS = (
    "alias",
    "as_strided",
    "detach",
    "empty",
    "expand",
    "permute",
    "select.int",
    "slice",
    "split",
    "squeeze",
    "t.",
    "transpose",
    "unbind",
    "unfold",
    "unsqueeze",
    "view",
    "_unsafe_view",
)
# For each new shape CUDA's libraries look for a way to compute it.
CONVOLUTIONS = ("convolution", "cudnn_convolution")
SPECTRA = ("_fft_r2c",)


class Noted(TorchDispatchMode):
    """The operations on a GPU.

    Attributes:
        operations: How often there was each.
        n_copies: Copies from the processor to the GPU.
        shapes: Shapes of what goes into convolutions and spectra.

    """

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def clear(self) -> None:
        """Forget what was noted."""
        self.operations: Counter[str] = Counter()
        self.n_copies = 0
        self.shapes: dict[str, set[tuple[int, ...]]] = {"convolution": set(), "spectrum": set()}

    @property
    def n_launches(self) -> int:
        """The operations that give the GPU work."""
        return sum(self.operations.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(_is_of_gpu(one) for one in tree_leaves((args, kwargs))):
            # What is on the processor is real.
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        result = func(*args, **kwargs)
        name = str(func).removeprefix("aten.")
        before = [one for one in tree_leaves(args) if isinstance(one, torch.Tensor)]
        was_there = any(one.device == GPU for one in before)
        assert not name.startswith(WAITING), name
        if name.startswith("index"):
            kinds = {one.dtype for one in before[1:]} if name.startswith("index.Tensor") else set()
            assert torch.bool not in kinds, "a boolean mask"
            assert all(one.device == GPU for one in before), "an index of the processor"
        if before and not was_there:
            self.n_copies += 1
        elif not name.startswith(("prim.", *VIEWS)):
            self.operations[name] += 1
        for kind, names in (("convolution", CONVOLUTIONS), ("spectrum", SPECTRA)):
            if name.startswith(names):
                self.shapes[kind].add(tuple(before[0].shape))
        return result


def _is_of_gpu(argument: Any) -> bool:
    is_gpu = isinstance(argument, torch.device) and argument.type == "cuda"
    return is_gpu or isinstance(argument, FakeTensor)


@contextmanager
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Noted]:
    """Fake tensors on a GPU, and record the operations on them."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    noted = Noted()
    with FakeTensorMode(allow_non_fake_inputs=True), noted:
        yield noted


def to_gpu(module: torch.nn.Module) -> torch.nn.Module:
    """Move a module to the GPU, which `Module.to` cannot do with tensors that are made up."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = torch.nn.Parameter(value.to(GPU), requires_grad=False)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = value.to(GPU)
    return module.eval()
