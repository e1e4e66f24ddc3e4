"""ECAPA-TDNN on a pack of utterances: no padding, few large matrix products, exact.

The frames of all utterances stand below each other in one matrix, (frames, channels). A
convolution gathers its taps by an index that reflects at each utterance's own ends, and becomes
one matrix product; what looks at a whole utterance (squeeze-and-excitation, attentive
statistics) goes by that utterance's rows. So every utterance meets exactly what it meets
alone, whatever its companions.
"""

from collections.abc import Iterator, Sequence

import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, SERes2NetBlock, TDNNBlock
from speechbrain.nnet.CNN import Conv1d
from speechbrain.nnet.normalization import BatchNorm1d
from torch.nn import functional

# Frames in work at a time: more make the products no faster, and take more memory.
PACK_FRAMES = 3000


def is_covered(model: torch.nn.Module) -> bool:
    """Tell whether `PackedEcapa` computes what `model` does."""
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


class PackedEcapa:
    """A model's layers, with their weights laid out for matrices of (frames, channels)."""

    def __init__(self, model: ECAPA_TDNN, dtype: torch.dtype) -> None:
        """Take the weights of a model in evaluation, products to be computed in `dtype`."""
        self.dtype = dtype
        self.first = _Layer(model.blocks[0], dtype)
        self.blocks = [_Block(block, dtype) for block in model.blocks[1:]]
        self.aggregation = _Layer(model.mfa, dtype)
        self.pooling = _Pooling(model, dtype)

    def embed(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Embed utterances.

        Args:
            features: Normalized features, (frames, mels) each, float32.

        Returns:
            A float32 tensor of shape (dim,) for each.

        """
        embeddings: list[torch.Tensor] = []
        for some in packs(features):
            pack = _Pack([len(one) for one in some], some[0].device)
            embeddings += self._embed_pack(pack, some)
        return embeddings

    def _embed_pack(self, pack: "_Pack", features: Sequence[torch.Tensor]) -> torch.Tensor:
        x = self.first(pack, torch.cat(list(features)).to(self.dtype))
        widths = [block.n_channels for block in self.blocks]
        outputs = x.new_empty(len(x), sum(widths))
        for block, output in zip(self.blocks, torch.split(outputs, widths, dim=1), strict=True):
            block.write(pack, x, output)
            x = output
        return self.pooling(pack, self.aggregation(pack, outputs))


def packs(features: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Yield `features` in order, at most `PACK_FRAMES` frames, but at least one, at a time."""
    pack: list[torch.Tensor] = []
    for one in features:
        if pack and sum(map(len, pack)) + len(one) > PACK_FRAMES:
            yield pack
            pack = []
        pack.append(one)
    if pack:
        yield pack


class _Pack:
    """Which rows belong to which utterance."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.lengths = lengths
        self.device = device
        ends = torch.tensor(lengths).cumsum(0).tolist()
        self.rows = [slice(end - n, end) for end, n in zip(ends, lengths, strict=True)]
        self._taps: dict[tuple[int, int], torch.Tensor] = {}

    def gather(self, x: torch.Tensor, kernel_size: int, dilation: int) -> torch.Tensor:
        """Return the taps of a convolution side by side, (frames, kernel_size * channels)."""
        if kernel_size == 1:
            return x
        key = (kernel_size, dilation)
        if key not in self._taps:
            self._taps[key] = self._reflected(*key).to(self.device)
        return x.index_select(0, self._taps[key]).view(len(x), -1)

    def _reflected(self, kernel_size: int, dilation: int) -> torch.Tensor:
        """Return the rows of all taps, reflected at the ends of each utterance."""
        offsets = (torch.arange(kernel_size) - kernel_size // 2) * dilation
        taps = []
        for rows, length in zip(self.rows, self.lengths, strict=True):
            last = length - 1
            positions = (torch.arange(length)[:, None] + offsets).abs()
            taps.append(rows.start + last - (last - positions).abs())
        return torch.cat(taps).flatten()


class _Product:
    """A convolution as a matrix product, ``x @ weight.T + bias``, with a ReLU if asked for."""

    def __init__(self, convolution: Conv1d, dtype: torch.dtype, relu: bool = False) -> None:
        self.kernel_size, self.dilation = convolution.kernel_size, convolution.dilation
        self.n_outputs = convolution.conv.out_channels
        self.relu = relu
        weight = _dense_weight(convolution.conv).permute(0, 2, 1).flatten(1)
        self.weight = weight.to(dtype).contiguous()
        self.bias = convolution.conv.bias.detach().to(dtype)
        self.prepacked = _prepack(self.weight)

    def __call__(self, pack: _Pack, x: torch.Tensor) -> torch.Tensor:
        x = pack.gather(x, self.kernel_size, self.dilation)
        if self.prepacked is not None:
            activation = "relu" if self.relu else "none"
            product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
                x, self.prepacked, self.bias, activation, [], ""
            )
            return product
        product = functional.linear(x, self.weight, self.bias)
        return product.relu_() if self.relu else product


def _dense_weight(convolution: torch.nn.Conv1d) -> torch.Tensor:
    """Return the weight, (outputs, inputs, taps), zero between channels of different groups."""
    weight = convolution.weight.detach()
    taps = [
        torch.block_diag(*tap.chunk(convolution.groups))  # type: ignore[no-untyped-call]
        for tap in weight.unbind(dim=2)
    ]
    return torch.stack(taps, dim=2)


def _prepack(weight: torch.Tensor) -> torch.Tensor | None:
    """Return `weight` in oneDNN's own layout, None where PyTorch has no such thing.

    These operations are PyTorch's internal ones, which ``torch.compile`` uses. On a CPU they
    reach about twice the speed of ``functional.linear`` in float32, see docs/measurements.md.
    """
    is_available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if weight.device.type != "cpu" or not is_available:
        return None
    try:
        prepacked: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, PACK_FRAMES)
        torch.ops.mkldnn._linear_pointwise(
            weight.new_zeros(1, weight.shape[1]), prepacked, None, "none", [], ""
        )
    except (AttributeError, RuntimeError):
        return None
    return prepacked


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

    def __call__(self, pack: _Pack, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.product(pack, x))


class _Block:
    """A block of TDNN, Res2Net, TDNN and squeeze-and-excitation."""

    def __init__(self, block: SERes2NetBlock, dtype: torch.dtype) -> None:
        self.before = _Layer(block.tdnn1, dtype)
        self.res2net = [_Layer(part, dtype) for part in block.res2net_block.blocks]
        self.after = _Layer(block.tdnn2, dtype)
        self.squeeze, self.excite = block.se_block.conv1.conv, block.se_block.conv2.conv
        self.shortcut = _Product(block.shortcut, dtype) if block.shortcut else None
        self.n_channels = self.after.product.n_outputs

    def write(self, pack: _Pack, x: torch.Tensor, output: torch.Tensor) -> None:
        """Write the block's output, (frames, n_channels), into `output`."""
        h = self.before(pack, x)
        _, *others = h.chunk(len(self.res2net) + 1, dim=1)
        y: torch.Tensor | None = None
        for layer, part in zip(self.res2net, others, strict=True):
            y = layer(pack, part.contiguous() if y is None else part + y)
            part.copy_(y)
        h = self.after(pack, h)
        residual = self.shortcut(pack, x) if self.shortcut else x
        gates = self._gates(
            torch.stack([h[rows].mean(0, dtype=torch.float32) for rows in pack.rows])
        )
        for gate, rows in zip(gates.to(h.dtype), pack.rows, strict=True):
            torch.addcmul(residual[rows], h[rows], gate, out=output[rows])

    def _gates(self, means: torch.Tensor) -> torch.Tensor:
        """Return the channels' weights, (utterances, channels), from their means."""
        gates: torch.Tensor = self.excite(self.squeeze(means[:, :, None]).relu()).sigmoid()
        return gates[:, :, 0]


class _Pooling:
    """Attentive statistics, normalization and the last linear layer, statistics in float32."""

    def __init__(self, model: ECAPA_TDNN, dtype: torch.dtype) -> None:
        pooling = model.asp
        self.dtype = dtype
        self.eps = pooling.eps
        self.has_context = pooling.global_context
        n_channels = pooling.conv.conv.out_channels
        attention = pooling.tdnn.conv.conv
        # The context, mean and deviation, is the same for all frames of an utterance: its part
        # of the product is computed once for each.
        self.context_weight = attention.weight.detach()[:, n_channels:, 0]
        self.attention = _Product(pooling.tdnn.conv, dtype)
        self.attention.weight = self.attention.weight[:, :n_channels].contiguous()
        self.attention.prepacked = _prepack(self.attention.weight)
        self.attention_norm = _Norm(pooling.tdnn.norm, dtype)
        self.logits = _Product(pooling.conv, dtype)
        self.norm, self.linear = model.asp_bn, model.fc

    def __call__(self, pack: _Pack, x: torch.Tensor) -> torch.Tensor:
        """Map (frames, channels) to embeddings, float32, (utterances, dim)."""
        h = self.attention(pack, x)
        if self.has_context:
            statistics = torch.stack([self._statistics(x[rows].float()) for rows in pack.rows])
            context = functional.linear(statistics, self.context_weight).to(h.dtype)
            for one, rows in zip(context, pack.rows, strict=True):
                h[rows] += one
        logits = self.logits(pack, self.attention_norm(h.relu_()).tanh_())
        pooled = [
            self._statistics(x[rows].float(), logits[rows].softmax(0, dtype=torch.float32))
            for rows in pack.rows
        ]
        embeddings: torch.Tensor = self.linear(self.norm(torch.stack(pooled)[:, :, None]))
        return embeddings.flatten(1)

    def _statistics(self, x: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Return mean and deviation of (frames, channels) side by side, (2 channels,)."""
        if weights is None:
            mean = x.mean(0)
            variance = (x - mean).square_().mean(0)
        else:
            mean = (weights * x).sum(0)
            variance = (x - mean).square_().mul_(weights).sum(0)
        return torch.cat([mean, variance.clamp(min=self.eps).sqrt()])
