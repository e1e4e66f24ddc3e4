"""RawNet3, a speaker encoder for raw waveforms.

Jung, Kim, Heo, Kim, Lee, Lee: "Pushing the limits of raw waveform speaker recognition",
Interspeech 2022, in the form of the authors' published weights. Parameters have the names of that
checkpoint.
"""

from collections.abc import Mapping

import torch
from asteroid_filterbanks import Encoder, ParamSincFB
from torch import nn
from torch.nn import functional

PRE_EMPHASIS = 0.97
SINC_SAMPLES = 251
SINC_STRIDE = 10
SCALE = 8
ATTENTION_CHANNELS = 128
# Bounds of variances before their square root is taken.
MIN_VARIANCE = 1e-4
MAX_VARIANCE = 1e4


class RawNet3(nn.Module):
    """The network. It maps (signals, samples) at 16 kHz to (signals, dim)."""

    def __init__(self, channels: int = 1024, frame_channels: int = 1536, dim: int = 256) -> None:
        """Create a network with random weights, by default of the published size."""
        super().__init__()
        self.preprocess = nn.Sequential(PreEmphasis(), nn.InstanceNorm1d(1, eps=1e-4, affine=True))
        self.conv1 = Encoder(ParamSincFB(channels // 4, SINC_SAMPLES, stride=SINC_STRIDE))
        self.layer1 = Res2Block(channels // 4, channels, dilation=2, pool=5)
        self.layer2 = Res2Block(channels, channels, dilation=3, pool=3)
        self.layer3 = Res2Block(channels, channels, dilation=4)
        self.layer4 = nn.Conv1d(3 * channels, frame_channels, 1)
        self.attention = nn.Sequential(
            nn.Conv1d(3 * frame_channels, ATTENTION_CHANNELS, 1),
            nn.ReLU(),
            nn.BatchNorm1d(ATTENTION_CHANNELS),
            nn.Conv1d(ATTENTION_CHANNELS, frame_channels, 1),
            nn.Softmax(dim=2),
        )
        self.bn5 = nn.BatchNorm1d(2 * frame_channels)
        self.fc6 = nn.Linear(2 * frame_channels, dim)

    @classmethod
    def shaped_like(cls, weights: Mapping[str, torch.Tensor]) -> "RawNet3":
        """Create a network of the size of a checkpoint's weights.

        Raises:
            KeyError, IndexError, AttributeError: They are not RawNet3's.

        """
        frame_channels, channels, _ = weights["layer4.weight"].shape
        return cls(channels // 3, frame_channels, weights["fc6.weight"].shape[0])

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        """Return the embeddings, (signals, dim), of (signals, samples)."""
        return self.pool(self.frames(self.features(signals)))

    def features(self, signals: torch.Tensor) -> torch.Tensor:
        """Return logarithms of a filterbank's magnitudes, (signals, channels / 4, frames)."""
        filtered = self.conv1(self.preprocess(signals[:, None]))
        logarithms = torch.log(filtered.abs() + 1e-6)
        return logarithms - logarithms.mean(-1, keepdim=True)

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """Return the input of the attention, (signals, frame_channels, frames / 15)."""
        first = self.layer1(features)
        second = self.layer2(first)
        short = functional.max_pool1d(first, 3)
        third = self.layer3(short + second)
        return functional.relu(self.layer4(torch.cat([short, second, third], dim=1)))

    def pool(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the embeddings, (signals, dim), by attentive statistics per channel."""
        variance = frames.var(2, keepdim=True).clamp(MIN_VARIANCE, MAX_VARIANCE)
        context = [frames.mean(2, keepdim=True), variance.sqrt()]
        context = [statistic.expand_as(frames) for statistic in context]
        weights = self.attention(torch.cat([frames, *context], dim=1))
        mean = (frames * weights).sum(2)
        variance = ((frames**2 * weights).sum(2) - mean**2).clamp(MIN_VARIANCE, MAX_VARIANCE)
        embeddings: torch.Tensor = self.fc6(self.bn5(torch.cat([mean, variance.sqrt()], dim=1)))
        return embeddings


class PreEmphasis(nn.Module):
    """Subtracts 0.97 times the previous sample; the signal is mirrored at its start."""

    def __init__(self) -> None:
        """Create the filter, which is also part of published checkpoints."""
        super().__init__()
        self.register_buffer("flipped_filter", torch.tensor([[[-PRE_EMPHASIS, 1.0]]]))

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        """Filter signals, (signals, 1, samples)."""
        padded = functional.pad(signals, (1, 0), "reflect")
        return functional.conv1d(padded, self.get_buffer("flipped_filter"))


class Res2Block(nn.Module):
    """A residual block in which each group of channels feeds the next, pooled and scaled."""

    def __init__(self, inputs: int, channels: int, dilation: int, pool: int = 1) -> None:
        """Create a block with a factor `pool` fewer frames in its output."""
        super().__init__()
        self.width = channels // SCALE
        n_convs = SCALE - 1
        inner = self.width * SCALE
        self.conv1 = nn.Conv1d(inputs, inner, 1)
        self.bn1 = nn.BatchNorm1d(inner)
        self.convs = nn.ModuleList(
            nn.Conv1d(self.width, self.width, 3, dilation=dilation, padding=dilation)
            for _ in range(n_convs)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(self.width) for _ in range(n_convs))
        self.conv3 = nn.Conv1d(inner, channels, 1)
        self.bn3 = nn.BatchNorm1d(channels)
        self.residual = (
            nn.Identity()
            if inputs == channels
            else nn.Sequential(nn.Conv1d(inputs, channels, 1, bias=False))
        )
        self.pool = pool
        self.afms = FeatureMapScaling(channels)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return (signals, channels, frames / pool) of (signals, inputs, frames)."""
        groups = self.bn1(self.conv1(frames).relu()).split(self.width, dim=1)
        done: list[torch.Tensor] = []
        for conv, bn, group in zip(self.convs, self.bns, groups[:-1], strict=True):
            done.append(bn(conv(done[-1] + group if done else group).relu()))
        joined = self.bn3(self.conv3(torch.cat([*done, groups[-1]], dim=1)).relu())
        pooled = functional.max_pool1d(joined + self.residual(frames), self.pool)
        scaled: torch.Tensor = self.afms(pooled)
        return scaled


class FeatureMapScaling(nn.Module):
    """Alpha feature map scaling (AFMS): (x + alpha) times a gate for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels, 1))
        self.fc = nn.Linear(channels, channels)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Scale (signals, channels, frames)."""
        gate: torch.Tensor = self.fc(frames.mean(2)).sigmoid()
        return (frames + self.alpha) * gate[:, :, None]
