"""ESPnet's RawNet3 and ECAPA-TDNN on ragged batches: few large matrix products, exact."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from espnet2.spk.encoder.ecapa_tdnn_encoder import EcapaTdnnEncoder
from espnet2.spk.encoder.rawnet3_encoder import RawNet3Encoder
from espnet2.spk.layers.ecapa_block import EcapaBlock, SEModule
from espnet2.spk.pooling.chn_attn_stat_pooling import ChnAttnStatPooling
from torch.nn import functional

from xvectors.encoders.ragged import Batch, Layer, Norm, Product, lay_out
from xvectors.encoders.ragged_rawnet import RaggedRawNet, Res2Net

# Bounds of variances before their square root is taken, as in ESPnet's pooling.
MIN_VARIANCE = torch.finfo(torch.float32).eps
MIN_POOLED_VARIANCE = 1e-4
MAX_VARIANCE = 1e4
# Maps the layout and the matrix of features, (rows, channels), to those of frames.
Frames = Callable[[Batch, torch.Tensor], tuple[Batch, torch.Tensor]]


def is_covered(model: Any) -> bool:
    """Tell whether `RaggedModel` can compute the embeddings of an ESPnet speaker model."""
    return type(model.encoder) in FORMS and type(model.pooling) is ChnAttnStatPooling


class RaggedModel:
    """Encoder and pooling of a model, their weights arranged for matrices of (frames, channels)."""

    def __init__(self, model: Any, dtype: torch.dtype, padded: bool) -> None:
        """Take the weights of a model in evaluation.

        `dtype` is that of the encoder's products; the pooling's are float32. For `padded`, see
        `lay_out`.
        """
        self.dtype = dtype
        self.padded = padded
        self.encoder = FORMS[type(model.encoder)](model.encoder, dtype)
        self.pool = _Pooling(model.pooling)

    def encode(self, features: Sequence[torch.Tensor]) -> tuple[Batch, torch.Tensor]:
        """Return what `pool` takes, layout and matrix, float32, of (frames, channels) each."""
        batch, x = lay_out(features, self.padded)
        batch, frames = self.encoder(batch, x.to(self.dtype))
        return batch, frames.float()


class _Ecapa:
    """ECAPA-TDNN."""

    def __init__(self, encoder: EcapaTdnnEncoder, dtype: torch.dtype) -> None:
        self.first = Layer(encoder.conv, encoder.bn, dtype, "zeros")
        blocks = (encoder.layer1, encoder.layer2, encoder.layer3)
        self.blocks = [_EcapaBlock(block, dtype) for block in blocks]
        self.last = Product(encoder.layer4, dtype, "zeros", relu=True)

    def __call__(self, batch: Batch, x: torch.Tensor) -> tuple[Batch, torch.Tensor]:
        total = self.first(batch, x)
        n_channels = total.shape[1]
        outputs = total.new_empty(len(x), n_channels * len(self.blocks))
        for block, output in zip(self.blocks, torch.split(outputs, n_channels, dim=1), strict=True):
            block.write(batch, total, output)
            total += output
        return batch, self.last(batch, outputs)


class _EcapaBlock:
    """A block of Res2Net and squeeze-and-excitation."""

    def __init__(self, block: EcapaBlock, dtype: torch.dtype) -> None:
        self.res2net = Res2Net(block, dtype)
        self.se: SEModule = block.se

    def write(self, batch: Batch, x: torch.Tensor, output: torch.Tensor) -> None:
        """Write the block's output, (rows, channels), into `output`."""
        h = self.res2net(batch, x)
        gates = self.se.se(batch.means(h)[:, :, None])[:, :, 0]
        batch.gate(x, gates.to(h.dtype), h, out=output)


# The ragged form of each encoder that has one.
FORMS: dict[type, Callable[[Any, torch.dtype], Frames]] = {
    RawNet3Encoder: RaggedRawNet,
    EcapaTdnnEncoder: _Ecapa,
}


class _Pooling:
    """Attentive statistics of each utterance, in float32."""

    def __init__(self, pooling: ChnAttnStatPooling) -> None:
        attention, _, norm, logits = pooling.attention
        n_channels = logits.out_channels
        # The context (mean and deviation) is the same for all frames of an utterance, so its part
        # of the product is computed once per utterance.
        self.context_weight = attention.weight.detach()[:, n_channels:, 0]
        self.attention = Product(attention, torch.float32, "zeros", inputs=slice(n_channels))
        self.norm = Norm(norm, torch.float32)
        self.logits = Product(logits, torch.float32, "zeros")

    def __call__(self, batch: Batch, x: torch.Tensor, n_told: torch.Tensor) -> torch.Tensor:
        """Return mean and deviation of each utterance, (utterances, 2 channels).

        ESPnet divides by `n_told`, the number of frames that it tells its pooling for each
        utterance, which is too large after max pooling.
        """
        mean, variance = batch.moments(x, None).unbind(1)
        share = (batch.frame_counts / n_told)[:, None]
        told_mean = mean * share
        told_variance = (variance + mean.square() * (1 - share)) * share
        deviation = told_variance.clamp(MIN_VARIANCE, MAX_VARIANCE).sqrt()
        h = self.attention(batch, x)
        context = torch.cat([told_mean, deviation], dim=1)
        batch.add(h, functional.linear(context, self.context_weight))
        logits = self.logits(batch, self.norm(h.relu_()))
        mean, variance = batch.moments(x, logits).unbind(1)
        deviation = variance.clamp(MIN_POOLED_VARIANCE, MAX_VARIANCE).sqrt()
        return torch.cat([mean, deviation], dim=1)
