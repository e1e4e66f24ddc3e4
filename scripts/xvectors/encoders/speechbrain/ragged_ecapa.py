"""ECAPA-TDNN on a ragged batch: no padding, few large matrix products, exact.

The frames of all utterances lie one below the other in one matrix, (frames, channels). A
convolution gathers its taps by an index that reflects at each utterance's own ends, and becomes
one matrix product. Operations on whole utterances (squeeze-and-excitation, attentive statistics)
use that utterance's rows. So every utterance gets the result that it gets alone.

A second layout gives every utterance as many rows as the longest has, with the same reflection at
each utterance's own ends, and leaves the other rows out of all sums.
"""

from abc import ABC, abstractmethod

import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, SERes2NetBlock, TDNNBlock
from speechbrain.nnet.CNN import Conv1d
from speechbrain.nnet.normalization import BatchNorm1d
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from xvectors.encoders.device import copy_to_device
from xvectors.encoders.prepacked import linear, prepack

# Channels processed at a time by operations that allow any number.
CHANNELS = 512


def is_covered(model: torch.nn.Module) -> bool:
    """Tell whether `RaggedEcapa` can compute the embeddings of `model`."""
    if type(model) is not ECAPA_TDNN:
        return False
    modules = list(model.modules())
    return all(_is_covered(module) for module in modules if isinstance(module, Conv1d)) and all(
        type(module.activation) is torch.nn.ReLU
        for module in modules
        if isinstance(module, TDNNBlock)
    )


def _is_covered(convolution: Conv1d) -> bool:
    return (
        convolution.padding == "same"
        and convolution.padding_mode == "reflect"
        and convolution.stride == 1
        and convolution.kernel_size % 2 == 1
        and type(convolution.conv) is torch.nn.Conv1d
        and convolution.conv.bias is not None
    )


class RaggedEcapa:
    """The layers of a model, their weights arranged for matrices of (frames, channels)."""

    def __init__(self, model: ECAPA_TDNN, dtype: torch.dtype, padded: bool = False) -> None:
        """Take the weights of a model in evaluation.

        Args:
            model: The model.
            dtype: Of the products.
            padded: Give all utterances of a batch as many rows as the longest needs. This takes
                the same few operations for any number of utterances, which suits GPUs. Without
                it there are no padding rows to compute, which suits CPUs.

        """
        self.dtype = dtype
        self.padded = padded
        self.first = _Layer(model.blocks[0], dtype)
        self.blocks = [_Block(block, dtype) for block in model.blocks[1:]]
        self.aggregation = _Layer(model.mfa, dtype)
        self.pooling = _Pooling(model, dtype)

    @property
    def bytes_per_frame(self) -> int:
        """Rough number of bytes per frame at the peak."""
        widths = sum(block.n_channels for block in self.blocks)
        return int(4 * (4 * widths + 6 * self.aggregation.product.n_outputs))

    def embed(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Embed utterances in one batch.

        Args:
            features: Normalized features, (frames, mels) each, float32.

        Returns:
            A float32 tensor of shape (utterances, dim).

        """
        batch = _PaddedBatch(features) if self.padded else _RaggedBatch(features)
        x = self.first(batch, batch.features.to(self.dtype))
        widths = [block.n_channels for block in self.blocks]
        outputs = x.new_empty(len(x), sum(widths))
        for block, output in zip(self.blocks, torch.split(outputs, widths, dim=1), strict=True):
            block.write(batch, x, output)
            x = output
        return self.pooling(batch, self.aggregation(batch, outputs))


class _Batch(ABC):
    """A matrix with a row for each frame of several utterances, and operations per utterance."""

    def __init__(
        self, features: torch.Tensor, row_of_start: torch.Tensor, last_frame: torch.Tensor
    ) -> None:
        """Take the rows.

        Args:
            features: (rows, mels).
            row_of_start: For each row the row of its utterance's first frame, (rows,).
            last_frame: For each row the number of its utterance's last frame, (rows,).

        """
        self.features = features
        self.device = features.device
        self._row_of_start = row_of_start
        self._last_frame = last_frame
        self._frame = torch.arange(len(features), device=self.device) - row_of_start
        self._taps: dict[tuple[int, int], torch.Tensor] = {}

    def gather(self, x: torch.Tensor, kernel_size: int, dilation: int) -> torch.Tensor:
        """Return the taps of a convolution side by side, (rows, kernel_size * channels).

        They are reflected at the ends of each utterance.
        """
        if kernel_size == 1:
            return x
        key = (kernel_size, dilation)
        if key not in self._taps:
            taps = torch.arange(kernel_size, device=self.device)
            offsets = (taps - kernel_size // 2) * dilation
            last = self._last_frame[:, None]
            reflected = last - (last - (self._frame[:, None] + offsets).abs()).abs()
            # Only padding rows can be below zero.
            rows = self._row_of_start[:, None] + reflected.clamp(min=0)
            self._taps[key] = rows.flatten()
        return x.index_select(0, self._taps[key]).view(len(x), -1)

    @abstractmethod
    def means(self, x: torch.Tensor) -> torch.Tensor:
        """Return each utterance's mean, float32, (utterances, channels)."""

    @abstractmethod
    def add(self, x: torch.Tensor, addends: torch.Tensor) -> None:
        """Add its row of `addends`, (utterances, channels), to all rows of each utterance."""

    @abstractmethod
    def gate(
        self, x: torch.Tensor, gates: torch.Tensor, y: torch.Tensor, out: torch.Tensor
    ) -> None:
        """Write ``x + y * gates`` into `out`, with a row of `gates` for each utterance."""

    @abstractmethod
    def statistics(self, x: torch.Tensor, logits: torch.Tensor | None, eps: float) -> torch.Tensor:
        """Return each utterance's mean and deviation, float32, (utterances, 2 channels).

        Args:
            x: (rows, channels).
            logits: (rows, channels). Their softmax over each utterance's frames gives the weights.
                None: all frames have the same weight.
            eps: The least variance.

        """


class _RaggedBatch(_Batch):
    """Utterances one below the other, without padding."""

    def __init__(self, features: list[torch.Tensor]) -> None:
        """Take features, (frames, mels) each."""
        joined = torch.cat(features)
        lengths = torch.tensor([len(one) for one in features], device=joined.device)
        starts = lengths.cumsum(0) - lengths
        super().__init__(
            joined, starts.repeat_interleave(lengths), lengths.repeat_interleave(lengths) - 1
        )
        self.rows = [
            slice(a, a + n) for a, n in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]

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

    def statistics(self, x: torch.Tensor, logits: torch.Tensor | None, eps: float) -> torch.Tensor:
        statistics = x.new_empty(len(self.rows), 2, x.shape[1], dtype=torch.float32)
        # Few channels at a time fit into the processor's cache.
        for start in range(0, x.shape[1], CHANNELS):
            some = slice(start, start + CHANNELS)
            for rows, out in zip(self.rows, statistics, strict=True):
                weights = (
                    self._equal_weights(rows) if logits is None else _softmax(logits[rows, some])
                )
                out[:, some] = _statistics(x[rows, some], weights, eps)
        return statistics.flatten(1)

    def _equal_weights(self, rows: slice) -> torch.Tensor:
        """Return the same weight for all rows of an utterance, (frames, 1)."""
        n_frames = rows.stop - rows.start
        return torch.full((n_frames, 1), 1 / n_frames, device=self.device)


class _PaddedBatch(_Batch):
    """Utterances with as many rows each as the longest has.

    Rows beyond an utterance's end reflect its own frames like all others, so their values are
    finite. They count nowhere: sums overwrite them first, in place.
    """

    def __init__(self, features: list[torch.Tensor]) -> None:
        """Take features, (frames, mels) each."""
        padded = pad_sequence(features, batch_first=True)
        device = padded.device
        n_utterances, n_frames = self.shape = padded.shape[:2]
        n_own = torch.tensor([len(one) for one in features])
        beyond = (torch.arange(n_frames) >= n_own[:, None]).flatten().nonzero().flatten()
        self._beyond = copy_to_device(beyond, device)
        self._lengths = copy_to_device(n_own, device)[:, None]
        starts = torch.arange(n_utterances, device=device)[:, None] * n_frames
        super().__init__(
            padded.flatten(0, 1),
            starts.expand(self.shape).flatten(),
            (self._lengths - 1).expand(self.shape).flatten(),
        )

    def _by_utterance(self, x: torch.Tensor) -> torch.Tensor:
        """Return (utterances * frames, channels) as (utterances, frames, channels)."""
        view: torch.Tensor = x.unflatten(0, self.shape)  # type: ignore[no-untyped-call]
        return view

    def _fill(self, x: torch.Tensor, value: float) -> torch.Tensor:
        """Set rows beyond an utterance's end to a value, in place."""
        return x.index_fill_(0, self._beyond, value) if len(self._beyond) else x

    def means(self, x: torch.Tensor) -> torch.Tensor:
        return self._by_utterance(self._fill(x, 0)).sum(1, dtype=torch.float32) / self._lengths

    def add(self, x: torch.Tensor, addends: torch.Tensor) -> None:
        self._by_utterance(x).add_(addends[:, None])

    def gate(
        self, x: torch.Tensor, gates: torch.Tensor, y: torch.Tensor, out: torch.Tensor
    ) -> None:
        by_utterance = self._by_utterance(out)
        torch.addcmul(
            self._by_utterance(x), self._by_utterance(y), gates[:, None], out=by_utterance
        )

    def statistics(self, x: torch.Tensor, logits: torch.Tensor | None, eps: float) -> torch.Tensor:
        if logits is None:
            mean = self.means(x)
            deviations = _minus(self._by_utterance(x), mean[:, None])
            self._fill(deviations.flatten(0, 1), 0)
            # The norm squares and sums in one pass over the memory.
            variance = torch.linalg.vector_norm(deviations, dim=1).square() / self._lengths
            return _mean_and_deviation(mean, variance, eps).flatten(1)
        logits = self._by_utterance(self._fill(logits, -torch.inf))
        # PyTorch's softmax over frames takes three times as long.
        weights = _minus(logits, logits.amax(1, keepdim=True)).exp_()
        return _statistics(self._by_utterance(x), weights, eps).flatten(1)


def _minus(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the difference in float32; a GPU takes twice as long for operands of two types."""
    return x - y if x.dtype == torch.float32 else x.float().sub_(y)


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    """Return the weights of (..., frames, channels)."""
    return logits.softmax(-2, dtype=torch.float32)


def _statistics(x: torch.Tensor, weights: torch.Tensor, eps: float) -> torch.Tensor:
    """Return weighted mean and deviation over frames, float32, (..., 2, channels).

    Args:
        x: (..., frames, channels).
        weights: Float32, (..., frames, channels) or (..., frames, 1).
        eps: The least variance.

    """
    total = weights.sum(-2)
    mean = (weights * x).sum(-2) / total
    variance = (x - mean.unsqueeze(-2)).square_().mul_(weights).sum(-2) / total
    return _mean_and_deviation(mean, variance, eps)


def _mean_and_deviation(mean: torch.Tensor, variance: torch.Tensor, eps: float) -> torch.Tensor:
    return torch.stack([mean, variance.clamp(min=eps).sqrt()], dim=-2)


class _Product:
    """A convolution as a matrix product, ``x @ weight.T + bias``, with a ReLU if asked for."""

    def __init__(self, convolution: Conv1d, dtype: torch.dtype, relu: bool = False) -> None:
        self.kernel_size, self.dilation = convolution.kernel_size, convolution.dilation
        self.n_outputs = convolution.conv.out_channels
        self.relu = relu
        weight = _dense_weight(convolution.conv).permute(0, 2, 1).flatten(1)
        self.weight = weight.to(dtype).contiguous()
        self.bias = convolution.conv.bias.detach().to(dtype)
        self.prepacked = prepack(self.weight)

    def __call__(self, batch: _Batch, x: torch.Tensor) -> torch.Tensor:
        x = batch.gather(x, self.kernel_size, self.dilation)
        if self.prepacked is not None:
            return linear(x, self.prepacked, self.bias, self.relu)
        product = functional.linear(x, self.weight, self.bias)
        return product.relu_() if self.relu else product


def _pointwise(convolution: Conv1d) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight, (outputs, inputs), and bias of a convolution with a kernel of one frame."""
    return convolution.conv.weight.detach()[:, :, 0], convolution.conv.bias.detach()


def _dense_weight(convolution: torch.nn.Conv1d) -> torch.Tensor:
    """Return the weight, (outputs, inputs, taps), zero between channels of different groups."""
    weight = convolution.weight.detach()
    taps = [
        torch.block_diag(*tap.chunk(convolution.groups))  # type: ignore[no-untyped-call]
        for tap in weight.unbind(dim=2)
    ]
    return torch.stack(taps, dim=2)


class _Norm:
    """Batch normalization in evaluation, ``scale * x + shift``, in place."""

    def __init__(self, norm: BatchNorm1d, dtype: torch.dtype) -> None:
        batch_norm = norm.norm
        scale = (batch_norm.weight / (batch_norm.running_var + batch_norm.eps).sqrt()).detach()
        self.scale = scale.to(dtype)
        self.shift = (batch_norm.bias.detach() - batch_norm.running_mean * scale).to(dtype)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addcmul(self.shift, x, self.scale, out=x)


class _Layer:
    """A TDNN block: convolution, ReLU, normalization."""

    def __init__(self, block: TDNNBlock, dtype: torch.dtype) -> None:
        self.product = _Product(block.conv, dtype, relu=True)
        self.norm = _Norm(block.norm, dtype)

    def __call__(self, batch: _Batch, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.product(batch, x))


class _Block:
    """A block of TDNN, Res2Net, TDNN and squeeze-and-excitation."""

    def __init__(self, block: SERes2NetBlock, dtype: torch.dtype) -> None:
        self.before = _Layer(block.tdnn1, dtype)
        self.res2net = [_Layer(part, dtype) for part in block.res2net_block.blocks]
        self.after = _Layer(block.tdnn2, dtype)
        self.squeeze = _pointwise(block.se_block.conv1)
        self.excite = _pointwise(block.se_block.conv2)
        self.shortcut = _Product(block.shortcut, dtype) if block.shortcut else None
        self.n_channels = self.after.product.n_outputs

    def write(self, batch: _Batch, x: torch.Tensor, output: torch.Tensor) -> None:
        """Write the block's output, (frames, n_channels), into `output`."""
        h = self.before(batch, x)
        _, *others = h.chunk(len(self.res2net) + 1, dim=1)
        y: torch.Tensor | None = None
        for layer, part in zip(self.res2net, others, strict=True):
            y = layer(batch, part.contiguous() if y is None else part + y)
            part.copy_(y)
        h = self.after(batch, h)
        residual = self.shortcut(batch, x) if self.shortcut else x
        batch.gate(residual, self._gates(batch.means(h)).to(h.dtype), h, out=output)

    def _gates(self, means: torch.Tensor) -> torch.Tensor:
        """Return the channels' weights, (utterances, channels), from their means."""
        squeezed = functional.linear(means, *self.squeeze).relu_()
        return functional.linear(squeezed, *self.excite).sigmoid_()


class _Pooling:
    """Attentive statistics, normalization and the last linear layer, statistics in float32."""

    def __init__(self, model: ECAPA_TDNN, dtype: torch.dtype) -> None:
        pooling = model.asp
        self.dtype = dtype
        self.eps = pooling.eps
        self.has_context = pooling.global_context
        n_channels = pooling.conv.conv.out_channels
        attention = pooling.tdnn.conv.conv
        # The context (mean and deviation) is the same for all frames of an utterance, so its part
        # of the product is computed once per utterance.
        self.context_weight = attention.weight.detach()[:, n_channels:, 0]
        self.attention = _Product(pooling.tdnn.conv, dtype)
        self.attention.weight = self.attention.weight[:, :n_channels].contiguous()
        self.attention.prepacked = prepack(self.attention.weight)
        self.attention_norm = _Norm(pooling.tdnn.norm, dtype)
        self.logits = _Product(pooling.conv, dtype)
        self.norm = model.asp_bn
        self.last = _pointwise(model.fc)

    def __call__(self, batch: _Batch, x: torch.Tensor) -> torch.Tensor:
        """Map (frames, channels) to embeddings, float32, (utterances, dim)."""
        h = self.attention(batch, x)
        if self.has_context:
            statistics = batch.statistics(x, None, self.eps)
            batch.add(h, functional.linear(statistics, self.context_weight).to(h.dtype))
        logits = self.logits(batch, self.attention_norm(h.relu_()).tanh_())
        pooled = batch.statistics(x, logits, self.eps)
        normalized = self.norm(pooled[:, :, None]).flatten(1)
        # As a convolution, every new number of utterances would make cuDNN search a new plan.
        return functional.linear(normalized, *self.last)
