"""SpeechBrain's ResNet on padded batches, exact.

Its convolutions pad with zeros, so everything beyond an utterance's end is set to zero before every
convolution that looks at neighbouring frames. Means and attentive statistics leave it out.
Few operations for any number of utterances suit a GPU; a CPU gains nothing from padding.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from speechbrain.lobes.models.ResNet import ResNet, SEBasicBlock
from torch.nn.utils.rnn import pad_sequence

from xvectors.encoders.device import copy_to_device
from xvectors.encoders.ragged import Padded

# The least variance of the pooling, as in SpeechBrain.
MIN_VARIANCE = 1e-5


class PaddedResNet:
    """The modules of a model, applied to utterances of any lengths."""

    def __init__(self, model: ResNet, dtype: torch.dtype) -> None:
        self.model = model
        self.dtype = dtype

    @property
    def bytes_per_frame(self) -> int:
        """Rough number of bytes per frame at the peak, in the first layers."""
        layers = [getattr(self.model, f"layer{i}") for i in range(1, 5)]
        n_last = self.model.norm_stats.num_features // (2 * layers[-1][-1].conv3.out_channels)
        n_mels = n_last * math.prod(layer[0].stride for layer in layers)
        return int(4 * 6 * self.model.conv1.out_channels * n_mels)

    def embed(self, features: Sequence[torch.Tensor] | Padded) -> torch.Tensor:
        """Map normalized features, (frames, mels) each, to float32 of shape (utterances, dim)."""
        if isinstance(features, Padded):
            values, lengths = features.values, features.frame_counts
        else:
            values = pad_sequence(list(features), batch_first=True)
            n_frames = torch.tensor([len(one) for one in features])
            lengths = copy_to_device(n_frames, values.device)
        device, model = values.device, self.model
        x = (values * _is_own(lengths, values.shape[1])[:, :, None])[:, None]
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            x = model.activation1(model.bn1(model.conv1(x)))
            for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
                for block in layer:
                    lengths, x = _apply(block, lengths, x)
            pooled = self._pool(lengths, x.transpose(2, 3).flatten(1, 2))
            embeddings: torch.Tensor = model.norm_embed(model.fc_embed(model.norm_stats(pooled)))
        return embeddings.float()

    def _pool(self, lengths: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Map (utterances, channels, frames) to means and deviations, (utterances, 2 channels)."""
        *layers, softmax = self.model.attention
        logits = x
        for layer in layers:
            logits = layer(logits)
        beyond = ~_is_own(lengths, x.shape[2])[:, None]
        x = x.float()
        weights = softmax(logits.float().masked_fill(beyond, -torch.inf))
        mean = (x * weights).sum(2)
        variance = (x.square() * weights).sum(2) - mean.square()
        return torch.cat([mean, variance.clamp(min=MIN_VARIANCE).sqrt()], dim=1)


def _apply(block: Any, lengths: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return lengths and output, (utterances, channels, frames, mels), of a residual block."""
    own = _is_own(lengths, x.shape[2])[:, None, :, None]
    h = block.conv1(block.activation(block.bn1(x)) * own)
    lengths = (lengths - 1) // block.stride + 1
    own = _is_own(lengths, h.shape[2])[:, None, :, None]
    h = block.conv2(block.activation(block.bn2(h)) * own)
    h = block.conv3(block.activation(block.bn3(h)))
    if isinstance(block, SEBasicBlock):
        mean = (h * own).sum((2, 3), dtype=torch.float32) / (lengths * h.shape[3])[:, None]
        h = h * block.se.fc(mean)[:, :, None, None]
    return lengths, h + (x if block.downsample is None else block.downsample(x))


def _is_own(lengths: torch.Tensor, n_frames: int) -> torch.Tensor:
    """Tell which frames lie before an utterance's end, (utterances, n_frames)."""
    return torch.arange(n_frames, device=lengths.device) < lengths[:, None]
