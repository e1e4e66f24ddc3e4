"""The x-vector TDNN of SpeechBrain on ragged batches: no padding, few large products, exact."""

from collections.abc import Sequence
from typing import Any

import torch
from speechbrain.lobes.models.Xvector import Xvector
from speechbrain.nnet.CNN import Conv1d
from speechbrain.nnet.linear import Linear
from speechbrain.nnet.normalization import BatchNorm1d
from speechbrain.nnet.pooling import StatisticsPooling

from xvectors.encoders.ragged import Batch, Norm, Padded, Product, lay_out
from xvectors.encoders.speechbrain.ragged_ecapa import pads_by_reflection

# Activations that need no neighbouring frames.
ACTIVATIONS = (torch.nn.ReLU, torch.nn.LeakyReLU)


def is_covered(model: Any) -> bool:
    """Tell whether `RaggedXvector` can compute the embeddings of `model`."""
    if type(model) is not Xvector:
        return False
    *layers, pooling, last = model.blocks.children()
    types = [type(layer) for layer in layers]
    return bool(
        all(one is Conv1d for one in types[0::3])
        and all(pads_by_reflection(convolution) for convolution in layers[0::3])
        and all(one in ACTIVATIONS for one in types[1::3])
        and all(one is BatchNorm1d for one in types[2::3])
        and type(pooling) is StatisticsPooling
        and pooling.return_mean
        and pooling.return_std
        and type(last) is Linear
    )


class RaggedXvector:
    """The layers of a model, their weights arranged for matrices of (frames, channels)."""

    def __init__(self, model: Xvector, dtype: torch.dtype, padded: bool) -> None:
        """Take the weights of a model in evaluation, and the type of products; see `lay_out`."""
        self.dtype = dtype
        self.padded = padded
        *layers, self.statistics, self.last = model.blocks.children()
        self.products = [Product(layer.conv, dtype, "reflect") for layer in layers[0::3]]
        self.activations = layers[1::3]
        self.norms = [Norm(layer.norm, dtype) for layer in layers[2::3]]

    @property
    def bytes_per_frame(self) -> int:
        """Rough number of bytes per frame at the peak."""
        return 4 * max(one.weight.shape[1] + 3 * one.n_outputs for one in self.products)

    def embed(self, features: Sequence[torch.Tensor] | Padded) -> torch.Tensor:
        """Map normalized features, (frames, mels) each, to float32 of shape (utterances, dim)."""
        batch, x = lay_out(features, self.padded)
        x = x.to(self.dtype)
        for product, activation, norm in zip(
            self.products, self.activations, self.norms, strict=True
        ):
            x = norm(activation(product(batch, x)))
        embeddings: torch.Tensor = self.last(self._pool(batch, x))
        return embeddings

    def _pool(self, batch: Batch, x: torch.Tensor) -> torch.Tensor:
        """Return mean and deviation, (utterances, 2 channels), with SpeechBrain's noise."""
        mean, variance = batch.moments(x, None).unbind(1)
        pooling = self.statistics
        noisy = [one + pooling._get_gauss_noise(one.shape, one.device) for one in mean]
        counts = batch.frame_counts[:, None]
        deviation = (variance * counts / (counts - 1)).sqrt() + pooling.eps
        return torch.cat([torch.stack(noisy), deviation], dim=1)
