"""Batches of utterances of any lengths as one matrix, (rows, channels), with a row for each frame.

In a ragged batch the frames of all utterances lie one below the other, without padding. A second
layout gives every utterance as many rows as the longest has; it takes the same few operations for
any number of utterances. In both, a convolution gathers its taps by an index that ends at each
utterance's own ends, and becomes one matrix product. An operation on a whole utterance uses only
its rows. So every utterance gets the result that it gets alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from xvectors.encoders.device import copy_to_device
from xvectors.encoders.prepacked import linear, prepack_if_faster

# Frames that convolutions see beyond an utterance's ends: its own ones reflected, or zeros.
Padding = Literal["reflect", "zeros"]
# Channels processed at a time by operations that allow any number.
CHANNELS = 512


class Padded(NamedTuple):
    """Features of several utterances with as many rows each as the longest has.

    Attributes:
        values: (utterances, rows, channels). Rows beyond an utterance's end mean nothing.
        lengths: The number of frames of each utterance, on the CPU.
        frame_counts: The same on the device.

    """

    values: torch.Tensor
    lengths: torch.Tensor
    frame_counts: torch.Tensor

    def unpadded(self) -> list[torch.Tensor]:
        """Return the features of each utterance, (frames, channels)."""
        return [one[:n] for one, n in zip(self.values, self.lengths.tolist(), strict=True)]


class Batch(ABC):
    """The layout of a batch, and operations per utterance.

    Attributes:
        lengths: Frames of each utterance, on the CPU.
        frame_counts: The same on the device.

    """

    def __init__(
        self,
        lengths: torch.Tensor,
        starts: torch.Tensor,
        device: torch.device,
        frame_counts: torch.Tensor | None = None,
    ) -> None:
        """Take frames and first row of each utterance, as tensors on the CPU.

        Frames are copied to the device unless they are there.
        """
        self.lengths = lengths
        self.device = device
        if frame_counts is None:
            frame_counts = copy_to_device(lengths, device)
        self.frame_counts = frame_counts
        self._starts = starts
        self._taps: dict[tuple[int, int, Padding], tuple[torch.Tensor, torch.Tensor | None]] = {}
        self._row_of_start, self._last_frame = self._layout()
        rows = torch.arange(len(self._row_of_start), device=self.device)
        self._frame = rows - self._row_of_start

    @abstractmethod
    def _layout(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return, for each row, the first row of its utterance and its utterance's last frame."""

    @classmethod
    @abstractmethod
    def of_lengths(cls, lengths: torch.Tensor, device: torch.device) -> Self:
        """Lay out utterances of so many frames, a tensor on the CPU."""

    @abstractmethod
    def join(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the matrix of the features of each utterance, (frames, channels)."""

    def gather(
        self, x: torch.Tensor, kernel_size: int, dilation: int, padding: Padding
    ) -> torch.Tensor:
        """Return the taps of a convolution side by side, (rows, kernel_size * channels)."""
        if kernel_size == 1:
            return x
        key = (kernel_size, dilation, padding)
        if key not in self._taps:
            self._taps[key] = self._find_taps(*key)
        rows, outside = self._taps[key]
        taps = x.index_select(0, rows)
        if outside is not None:
            taps.index_fill_(0, outside, 0)
        return taps.view(len(x), -1)

    def _find_taps(
        self, kernel_size: int, dilation: int, padding: Padding
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the row of each tap of each row, and which of these taps are zero."""
        offsets = [(tap - kernel_size // 2) * dilation for tap in range(kernel_size)]
        last = self._last_frame[:, None]
        # Made on the device: a copy from the CPU would wait for it.
        taps = torch.arange(kernel_size, device=self.device)
        frames = self._frame[:, None] + (taps - kernel_size // 2) * dilation
        if padding == "reflect":
            # Only padding rows can be below zero.
            inside = (last - (last - frames.abs()).abs()).clamp(min=0)
            outside = None
        else:
            inside = torch.minimum(frames.clamp(min=0), last)
            outside = self._zero_taps(offsets)
        return (self._row_of_start[:, None] + inside).flatten(), outside

    def _zero_taps(self, offsets: Sequence[int]) -> torch.Tensor:
        """Return the taps, as positions among those of all rows, beyond an utterance's end.

        They are counted on the CPU, so that a GPU is not waited for.
        """
        found = []
        for tap, offset in enumerate(offsets):
            distances = torch.arange(abs(offset))
            utterances, beyond = torch.nonzero(distances < self.lengths[:, None], as_tuple=True)
            frames = beyond if offset < 0 else self.lengths[utterances] - 1 - beyond
            found.append((self._starts[utterances] + frames) * len(offsets) + tap)
        return copy_to_device(torch.cat(found), self.device)

    def max_pool(self, x: torch.Tensor, size: int) -> tuple[Self, torch.Tensor]:
        """Return the largest of every `size` frames, and their layout.

        Frames that are left at an utterance's end are dropped.

        Raises:
            ValueError: An utterance has fewer frames.

        """
        if int(self.lengths.min()) < size:
            raise ValueError(f"max pooling needs {size} frames")
        pooled = self.of_lengths(self.lengths // size, self.device)
        return pooled, self._pool(pooled, x, size)

    @abstractmethod
    def _pool(self, pooled: Self, x: torch.Tensor, size: int) -> torch.Tensor:
        """Return the largest of every `size` frames, (rows of `pooled`, channels)."""

    @abstractmethod
    def means(self, x: torch.Tensor) -> torch.Tensor:
        """Return each utterance's mean, float32, (utterances, channels)."""

    @abstractmethod
    def add(self, x: torch.Tensor, addends: torch.Tensor) -> None:
        """Add to all rows of each utterance its row of `addends`, (utterances, channels)."""

    @abstractmethod
    def gate(
        self, x: torch.Tensor, gates: torch.Tensor, y: torch.Tensor, out: torch.Tensor
    ) -> None:
        """Write ``x + y * gates`` into `out`, with a row of `gates` for each utterance."""

    @abstractmethod
    def scale(self, x: torch.Tensor, gates: torch.Tensor, addends: torch.Tensor) -> None:
        """Replace `x` by ``addends + x * gates``, with a row of both for each utterance."""

    @abstractmethod
    def moments(self, x: torch.Tensor, logits: torch.Tensor | None) -> torch.Tensor:
        """Return each utterance's mean and variance, float32, (utterances, 2, channels).

        Args:
            x: (rows, channels).
            logits: (rows, channels). Their softmax over each utterance's frames gives the weights.
                None: all frames have the same weight.

        """


class _RaggedBatch(Batch):
    """Utterances one below the other, without padding."""

    @classmethod
    def of_lengths(cls, lengths: torch.Tensor, device: torch.device) -> Self:
        return cls(lengths, lengths.cumsum(0) - lengths, device)

    def _layout(self) -> tuple[torch.Tensor, torch.Tensor]:
        starts_and_lengths = zip(self._starts.tolist(), self.lengths.tolist(), strict=True)
        self.rows = [slice(start, start + n) for start, n in starts_and_lengths]
        both = torch.stack([self._starts, self.lengths - 1]).repeat_interleave(self.lengths, dim=1)
        row_of_start, last_frame = copy_to_device(both, self.device)
        return row_of_start, last_frame

    def join(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat(list(features))

    def _pool(self, pooled: Self, x: torch.Tensor, size: int) -> torch.Tensor:
        found = x.new_empty(int(pooled.lengths.sum()), x.shape[1])
        for rows, own in zip(self.rows, pooled.rows, strict=True):
            n_pooled = own.stop - own.start
            frames = x[rows][: n_pooled * size].view(n_pooled, size, -1)
            torch.amax(frames, 1, out=found[own])
        return found

    def means(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[rows].mean(0, dtype=torch.float32) for rows in self.rows])

    def add(self, x: torch.Tensor, addends: torch.Tensor) -> None:
        for addend, rows in zip(addends, self.rows, strict=True):
            x[rows] += addend

    def gate(
        self, x: torch.Tensor, gates: torch.Tensor, y: torch.Tensor, out: torch.Tensor
    ) -> None:
        for gate, rows in zip(gates, self.rows, strict=True):
            torch.addcmul(x[rows], y[rows], gate, out=out[rows])

    def scale(self, x: torch.Tensor, gates: torch.Tensor, addends: torch.Tensor) -> None:
        for gate, addend, rows in zip(gates, addends, self.rows, strict=True):
            torch.addcmul(addend, x[rows], gate, out=x[rows])

    def moments(self, x: torch.Tensor, logits: torch.Tensor | None) -> torch.Tensor:
        found = x.new_empty(len(self.rows), 2, x.shape[1], dtype=torch.float32)
        # Few channels at a time fit into the processor's cache.
        for start in range(0, x.shape[1], CHANNELS):
            some = slice(start, start + CHANNELS)
            for rows, out in zip(self.rows, found, strict=True):
                if logits is None:
                    weights = self._equal_weights(rows)
                else:
                    weights = logits[rows, some].softmax(0, dtype=torch.float32)
                out[:, some] = _moments(x[rows, some], weights)
        return found

    def _equal_weights(self, rows: slice) -> torch.Tensor:
        """Return the same weight for all rows of an utterance, (frames, 1)."""
        n_frames = rows.stop - rows.start
        return torch.full((n_frames, 1), 1 / n_frames, device=self.device)


class _PaddedBatch(Batch):
    """Utterances with as many rows each as the longest has.

    Rows beyond an utterance's end gather its own frames like all others, so their values are
    finite. They count nowhere: sums overwrite them first, in place.
    """

    @classmethod
    def of_lengths(
        cls, lengths: torch.Tensor, device: torch.device, frame_counts: torch.Tensor | None = None
    ) -> Self:
        starts = torch.arange(len(lengths)) * int(lengths.max())
        return cls(lengths, starts, device, frame_counts)

    def _layout(self) -> tuple[torch.Tensor, torch.Tensor]:
        n_utterances, n_frames = self.shape = (len(self.lengths), int(self.lengths.max()))
        beyond = (torch.arange(n_frames) >= self.lengths[:, None]).flatten().nonzero().flatten()
        self._beyond = copy_to_device(beyond, self.device)
        starts = torch.arange(n_utterances, device=self.device)[:, None] * n_frames
        last_frames = (self.frame_counts - 1)[:, None]
        return starts.expand(self.shape).flatten(), last_frames.expand(self.shape).flatten()

    def join(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        return pad_sequence(list(features), batch_first=True).flatten(0, 1)

    def _pool(self, pooled: Self, x: torch.Tensor, size: int) -> torch.Tensor:
        whole = self._by_utterance(x)[:, : pooled.shape[1] * size]
        return whole.reshape(-1, size, x.shape[1]).amax(1)

    def _by_utterance(self, x: torch.Tensor) -> torch.Tensor:
        """Return (utterances * frames, channels) as (utterances, frames, channels)."""
        view: torch.Tensor = x.unflatten(0, self.shape)  # type: ignore[no-untyped-call]
        return view

    def _fill(self, x: torch.Tensor, value: float) -> torch.Tensor:
        """Set rows beyond an utterance's end to a value, in place."""
        return x.index_fill_(0, self._beyond, value) if len(self._beyond) else x

    def means(self, x: torch.Tensor) -> torch.Tensor:
        return (
            self._by_utterance(self._fill(x, 0)).sum(1, dtype=torch.float32)
            / self.frame_counts[:, None]
        )

    def add(self, x: torch.Tensor, addends: torch.Tensor) -> None:
        self._by_utterance(x).add_(addends[:, None])

    def gate(
        self, x: torch.Tensor, gates: torch.Tensor, y: torch.Tensor, out: torch.Tensor
    ) -> None:
        by_utterance = self._by_utterance(out)
        torch.addcmul(
            self._by_utterance(x), self._by_utterance(y), gates[:, None], out=by_utterance
        )

    def scale(self, x: torch.Tensor, gates: torch.Tensor, addends: torch.Tensor) -> None:
        by_utterance = self._by_utterance(x)
        torch.addcmul(addends[:, None], by_utterance, gates[:, None], out=by_utterance)

    def moments(self, x: torch.Tensor, logits: torch.Tensor | None) -> torch.Tensor:
        if logits is None:
            mean = self.means(x)
            deviations = _minus(self._by_utterance(x), mean[:, None])
            self._fill(deviations.flatten(0, 1), 0)
            # The norm squares and sums in one pass over the memory.
            variance = (
                torch.linalg.vector_norm(deviations, dim=1).square() / self.frame_counts[:, None]
            )
            return torch.stack([mean, variance], dim=1)
        logits = self._by_utterance(self._fill(logits, -torch.inf))
        # PyTorch's softmax over frames takes three times as long.
        weights = _minus(logits, logits.amax(1, keepdim=True)).exp_()
        return _moments(self._by_utterance(x), weights)


def lay_out(features: Sequence[torch.Tensor] | Padded, padded: bool) -> tuple[Batch, torch.Tensor]:
    """Return the layout of utterances' features, (frames, channels) each, and their matrix.

    A `padded` layout takes few operations for any number of utterances, which suits GPUs. The other
    one has no padding rows to compute, which suits CPUs. Features that are padded stay so.
    """
    if isinstance(features, Padded):
        values, lengths, frame_counts = features
        padded_batch = _PaddedBatch.of_lengths(lengths, values.device, frame_counts)
        return padded_batch, values.flatten(0, 1)
    kind = _PaddedBatch if padded else _RaggedBatch
    batch = kind.of_lengths(torch.tensor([len(one) for one in features]), features[0].device)
    return batch, batch.join(features)


def _minus(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the difference in float32; a GPU takes twice as long for operands of two types."""
    return x - y if x.dtype == torch.float32 else x.float().sub_(y)


def _moments(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return mean and variance of (..., frames, channels), float32, (..., 2, channels).

    The weights are float32, (..., frames, channels) or (..., frames, 1).
    """
    total = weights.sum(-2)
    mean = (weights * x).sum(-2) / total
    variance = (x - mean.unsqueeze(-2)).square_().mul_(weights).sum(-2) / total
    return torch.stack([mean, variance], dim=-2)


class Affine(NamedTuple):
    """A normalization of each channel, ``scale * x + shift``, float32, (channels,)."""

    scale: torch.Tensor
    shift: torch.Tensor

    @classmethod
    def of_norm(cls, norm: torch.nn.BatchNorm1d) -> "Affine":
        """Return what batch normalization does in evaluation."""
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        scale = (norm.weight / (variance + norm.eps).sqrt()).detach()
        return cls(scale, norm.bias.detach() - mean * scale)


class Product:
    """A convolution as a matrix product, ``x @ weight.T + bias``, with a ReLU if asked for."""

    def __init__(
        self,
        convolution: torch.nn.Conv1d,
        dtype: torch.dtype,
        padding: Padding,
        *,
        relu: bool = False,
        inputs: slice = slice(None),
        affine: Affine | None = None,
    ) -> None:
        """Take the weights of a convolution.

        Args:
            convolution: It has a stride of 1, and as many frames in its output as in its input.
            dtype: Of the product.
            padding: What it sees beyond the ends of an utterance.
            relu: Apply a ReLU to the product.
            inputs: The input channels to take.
            affine: Applied to the product. It costs no time, because it changes the weights.

        """
        (self.kernel_size,), (self.dilation,) = convolution.kernel_size, convolution.dilation
        self.n_outputs = convolution.out_channels
        self.padding, self.relu = padding, relu
        weight = _dense_weight(convolution)[:, inputs].permute(0, 2, 1).flatten(1)
        bias = None if convolution.bias is None else convolution.bias.detach()
        if affine is not None:
            weight = weight * affine.scale[:, None]
            bias = affine.shift if bias is None else affine.shift + bias * affine.scale
        self.weight = weight.to(dtype).contiguous()
        self.bias = None if bias is None else bias.to(dtype)
        self.prepacked = prepack_if_faster(self.weight)

    def __call__(self, batch: Batch, x: torch.Tensor) -> torch.Tensor:
        """Map (rows, inputs) to (rows, outputs)."""
        x = batch.gather(x, self.kernel_size, self.dilation, self.padding)
        if self.prepacked is not None:
            return linear(x, self.prepacked, self.bias, self.relu)
        product = functional.linear(x, self.weight, self.bias)
        return product.relu_() if self.relu else product

    def add(self, batch: Batch, x: torch.Tensor, total: torch.Tensor) -> None:
        """Add the product of (rows, inputs) to `total`, (rows, outputs), in place."""
        if self.prepacked is not None or self.bias is not None or self.relu:
            total += self(batch, x)
            return
        x = batch.gather(x, self.kernel_size, self.dilation, self.padding)
        total.addmm_(x, self.weight.t())


def pointwise_weights(convolution: torch.nn.Conv1d) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return weight, (outputs, inputs), and bias of a convolution with a kernel of one frame."""
    bias = convolution.bias
    return convolution.weight.detach()[:, :, 0], None if bias is None else bias.detach()


def _dense_weight(convolution: torch.nn.Conv1d) -> torch.Tensor:
    """Return the weight, (outputs, inputs, taps), zero between channels of different groups."""
    weight = convolution.weight.detach()
    if convolution.groups == 1:
        return weight
    taps = [
        torch.block_diag(*tap.chunk(convolution.groups))  # type: ignore[no-untyped-call]
        for tap in weight.unbind(dim=2)
    ]
    return torch.stack(taps, dim=2)


class Norm:
    """Batch normalization in evaluation, ``scale * x + shift``, in place."""

    def __init__(self, norm: torch.nn.BatchNorm1d, dtype: torch.dtype) -> None:
        scale, shift = Affine.of_norm(norm)
        self.scale, self.shift = scale.to(dtype), shift.to(dtype)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize (rows, channels) in place."""
        return torch.addcmul(self.shift, x, self.scale, out=x)


class Layer:
    """Convolution, ReLU, normalization.

    The normalization is part of the weights. Where its scale is positive, the ReLU then keeps
    values from falling below the shift, and where it is negative, from rising above it.
    """

    def __init__(
        self,
        convolution: torch.nn.Conv1d,
        norm: torch.nn.BatchNorm1d,
        dtype: torch.dtype,
        padding: Padding,
    ) -> None:
        affine = Affine.of_norm(norm)
        self.product = Product(convolution, dtype, padding, affine=affine)
        is_negative, shift = affine.scale < 0, affine.shift.to(dtype)
        self.lowest = shift.masked_fill(is_negative, -torch.inf)
        # One bound takes a CPU half as long as two. On a GPU, asking would wait for its work.
        one_bound_suffices = is_negative.device.type == "cpu" and not bool(is_negative.any())
        self.highest = None if one_bound_suffices else shift.masked_fill(~is_negative, torch.inf)

    def __call__(self, batch: Batch, x: torch.Tensor) -> torch.Tensor:
        """Map (rows, inputs) to (rows, outputs)."""
        y = self.product(batch, x)
        return torch.clamp(y, self.lowest, self.highest, out=y)


def pass_through_res2net(
    layers: Sequence[Layer], batch: Batch, groups: Sequence[torch.Tensor]
) -> None:
    """Replace groups, (rows, channels) each, by the outputs of their layers, in place.

    Each layer also gets the output of the one before.
    """
    y: torch.Tensor | None = None
    for layer, group in zip(layers, groups, strict=True):
        y = layer(batch, group.contiguous() if y is None else group + y)
        group.copy_(y)
