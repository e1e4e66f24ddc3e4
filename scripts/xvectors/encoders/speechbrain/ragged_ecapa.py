"""ECAPA-TDNN of SpeechBrain on ragged batches: no padding, few large matrix products, exact."""

from collections.abc import Sequence

import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, SERes2NetBlock, TDNNBlock
from speechbrain.nnet.CNN import Conv1d
from torch.nn import functional

from xvectors.encoders.ragged import (
    Batch,
    Layer,
    Norm,
    Padded,
    Product,
    lay_out,
    pass_through_res2net,
    pointwise_weights,
)


def is_covered(model: torch.nn.Module) -> bool:
    """Tell whether `RaggedEcapa` can compute the embeddings of `model`."""
    if type(model) is not ECAPA_TDNN:
        return False
    modules = list(model.modules())
    return all(
        pads_by_reflection(module) for module in modules if isinstance(module, Conv1d)
    ) and all(
        type(module.activation) is torch.nn.ReLU
        for module in modules
        if isinstance(module, TDNNBlock)
    )


def pads_by_reflection(convolution: Conv1d) -> bool:
    """Tell whether a convolution is one of `Product` with padding by reflection."""
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

    def __init__(self, model: ECAPA_TDNN, dtype: torch.dtype, padded: bool) -> None:
        """Take the weights of a model in evaluation, and the type of products; see `lay_out`."""
        self.dtype = dtype
        self.padded = padded
        self.first = _layer(model.blocks[0], dtype)
        self.blocks = [_Block(block, dtype) for block in model.blocks[1:]]
        self.aggregation = _layer(model.mfa, dtype)
        self.pooling = _Pooling(model, dtype)

    @property
    def bytes_per_frame(self) -> int:
        """Rough number of bytes per frame at the peak."""
        widths = sum(block.n_channels for block in self.blocks)
        return int(4 * (4 * widths + 6 * self.aggregation.product.n_outputs))

    def embed(self, features: Sequence[torch.Tensor] | Padded) -> torch.Tensor:
        """Map normalized features, (frames, mels) each, to float32 of shape (utterances, dim)."""
        batch, x = lay_out(features, self.padded)
        x = self.first(batch, x.to(self.dtype))
        widths = [block.n_channels for block in self.blocks]
        outputs = x.new_empty(len(x), sum(widths))
        for block, output in zip(self.blocks, torch.split(outputs, widths, dim=1), strict=True):
            block.write(batch, x, output)
            x = output
        return self.pooling(batch, self.aggregation(batch, outputs))


def _layer(block: TDNNBlock, dtype: torch.dtype) -> Layer:
    return Layer(block.conv.conv, block.norm.norm, dtype, "reflect")


class _Block:
    """A block of TDNN, Res2Net, TDNN and squeeze-and-excitation."""

    def __init__(self, block: SERes2NetBlock, dtype: torch.dtype) -> None:
        self.before = _layer(block.tdnn1, dtype)
        self.res2net = [_layer(part, dtype) for part in block.res2net_block.blocks]
        self.after = _layer(block.tdnn2, dtype)
        self.squeeze = pointwise_weights(block.se_block.conv1.conv)
        self.excite = pointwise_weights(block.se_block.conv2.conv)
        self.shortcut = Product(block.shortcut.conv, dtype, "reflect") if block.shortcut else None
        self.n_channels = self.after.product.n_outputs

    def write(self, batch: Batch, x: torch.Tensor, output: torch.Tensor) -> None:
        """Write the block's output, (frames, n_channels), into `output`."""
        h = self.before(batch, x)
        _, *others = h.chunk(len(self.res2net) + 1, dim=1)
        pass_through_res2net(self.res2net, batch, others)
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
        self.attention = Product(attention, dtype, "reflect", inputs=slice(n_channels))
        self.attention_norm = Norm(pooling.tdnn.norm.norm, dtype)
        self.logits = Product(pooling.conv.conv, dtype, "reflect")
        self.norm = model.asp_bn
        self.last = pointwise_weights(model.fc.conv)

    def __call__(self, batch: Batch, x: torch.Tensor) -> torch.Tensor:
        """Map (frames, channels) to embeddings, float32, (utterances, dim)."""
        h = self.attention(batch, x)
        if self.has_context:
            statistics = self._statistics(batch, x, None)
            batch.add(h, functional.linear(statistics, self.context_weight).to(h.dtype))
        logits = self.logits(batch, self.attention_norm(h.relu_()).tanh_())
        pooled = self._statistics(batch, x, logits)
        normalized = self.norm(pooled[:, :, None]).flatten(1)
        # As a convolution, every new number of utterances would make cuDNN search a new plan.
        return functional.linear(normalized, *self.last)

    def _statistics(
        self, batch: Batch, x: torch.Tensor, logits: torch.Tensor | None
    ) -> torch.Tensor:
        """Return each utterance's mean and deviation, float32, (utterances, 2 channels)."""
        mean, variance = batch.moments(x, logits).unbind(1)
        return torch.cat([mean, variance.clamp(min=self.eps).sqrt()], dim=1)
