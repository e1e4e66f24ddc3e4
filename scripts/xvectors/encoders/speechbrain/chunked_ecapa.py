"""ECAPA-TDNN chunk by chunk: long signals in little memory, exactly.

SpeechBrain's memory grows with the signal, and an hour of speech would need tens of gigabytes. Here
only one chunk of frames is processed at a time. Each chunk comes with a halo of neighbouring
frames, as wide as the convolutions reach, so its own frames get the same result as in the whole
signal. At the ends of the signal the layers pad as usual.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, SEBlock, SERes2NetBlock
from speechbrain.nnet.CNN import Conv1d

CPU_CHUNK_FRAMES = 3000
# Fewer take a GPU less time than a processor takes to give it the work.
GPU_CHUNK_FRAMES = 12000


class Chunk(NamedTuple):
    """A range of frames with its halo, and the position of its own frames in that range."""

    frames: slice
    own: slice


class Chunking(NamedTuple):
    """The division of long signals.

    Attributes:
        n_own: Most frames of a chunk without its halo.
        is_even: Whether all chunks have the same length with their halo, if the signal is that
            long. A GPU's libraries look for a way to compute each new length. A CPU gains nothing
            from it.

    """

    n_own: int
    is_even: bool

    def chunks(self, n_frames: int, halo: int) -> Iterator[Chunk]:
        """Yield chunks that cover `n_frames`, each with `halo` frames on both sides, if any."""
        n_all = min(self.n_own + 2 * halo, n_frames)
        for start in range(0, n_frames, self.n_own):
            end = min(start + self.n_own, n_frames)
            first, last = max(start - halo, 0), min(end + halo, n_frames)
            if self.is_even:
                first = min(first, n_frames - n_all)
                last = first + n_all
            yield Chunk(slice(first, last), slice(start - first, end - first))


def reflecting_convolutions(model: torch.nn.Module) -> Iterator[Conv1d]:
    """Yield the convolutions of a model that pad by reflection."""
    for module in model.modules():
        if isinstance(module, Conv1d) and module.padding_mode == "reflect":
            yield module


def reflect_padding(convolution: Conv1d) -> int:
    """Return the frames that a convolution with padding "same" adds on each side."""
    return int(convolution.dilation * (convolution.kernel_size - 1) // 2)


class ChunkedEcapa:
    """ECAPA-TDNN on the features of one long signal.

    Statistics of the whole signal (the squeeze-and-excitation means and the attentive statistics)
    are summed over the chunks in float64. Each depends on the one before and takes one pass over
    the signal.
    """

    def __init__(self, model: ECAPA_TDNN, features: torch.Tensor, chunking: Chunking) -> None:
        """Take a model, normalized features of shape (1, frames, mels), and their division."""
        self.model = model
        self.features = features.transpose(1, 2)
        self.n_frames = self.features.shape[2]
        self.is_even = chunking.is_even
        halo = sum(map(reflect_padding, reflecting_convolutions(model)))
        self.chunks = list(chunking.chunks(self.n_frames, halo))
        self.gates: list[torch.Tensor] = []

    def embed(self) -> torch.Tensor:
        """Return ``model(features)``, shape (1, 1, dim)."""
        for block in self.model.blocks[1:]:
            self.gates.append(self._gate(block))
        mean, std = self._attentive_statistics(*self._statistics())
        pooled = torch.cat([mean, std], dim=1)[:, :, None]
        embedding: torch.Tensor = self.model.fc(self.model.asp_bn(pooled)).transpose(1, 2)
        return embedding

    def _gate(self, block: SERes2NetBlock) -> torch.Tensor:
        """Return the channel weights, (1, channels, 1), of the next block."""
        total = torch.zeros(1, dtype=torch.float64, device=self.features.device)
        for chunk in self.chunks:
            squeezed = _before_gate(block, self._trunk(chunk)[-1])
            total = total + squeezed[:, :, chunk.own].double().sum(2)
        excite: SEBlock = block.se_block
        mean = (total / self.n_frames).float()[:, :, None]
        gate: torch.Tensor = excite.sigmoid(excite.conv2(excite.relu(excite.conv1(mean))))
        return gate

    def _trunk(self, chunk: Chunk) -> list[torch.Tensor]:
        """Return the outputs of the first layer and of the blocks whose gates are known."""
        outputs = [self.model.blocks[0](self.features[:, :, chunk.frames])]
        for block, gate in zip(self.model.blocks[1:], self.gates, strict=False):
            x = outputs[-1]
            residual = block.shortcut(x) if block.shortcut else x
            outputs.append(gate * _before_gate(block, x) + residual)
        return outputs

    def _aggregated(self, chunk: Chunk) -> torch.Tensor:
        """Return the multi-layer aggregation of a chunk's frames, (1, channels, frames)."""
        aggregated: torch.Tensor = self.model.mfa(torch.cat(self._trunk(chunk)[1:], dim=1))
        return aggregated

    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and deviation over all frames, (1, channels) each."""
        moments = torch.zeros(2, 1, 1, dtype=torch.float64, device=self.features.device)
        for chunk in self.chunks:
            x = self._aggregated(chunk)[:, :, chunk.own].double()
            moments = moments + torch.stack([x.sum(2), x.square().sum(2)])
        return self._mean_and_std(moments / self.n_frames)

    def _attentive_statistics(
        self, mean: torch.Tensor, std: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and deviation weighted by attention, a softmax over all frames.

        A running maximum keeps the exponentials in range. When it grows, the sums so far are
        scaled down by the same factor.
        """
        pooling = self.model.asp
        highest = torch.full_like(mean, -torch.inf, dtype=torch.float64)
        weight = torch.zeros_like(highest)
        moments = torch.zeros(2, *mean.shape, dtype=torch.float64, device=mean.device)
        for chunk in self.chunks:
            x, own = self._aggregated(chunk), chunk.own
            if not self.is_even:
                x, own = x[:, :, own], slice(None)
            context = [x]
            if pooling.global_context:
                context += [statistic[:, :, None].expand_as(x) for statistic in (mean, std)]
            logits = pooling.conv(pooling.tanh(pooling.tdnn(torch.cat(context, dim=1))))
            # Only here if chunks are even, because the convolutions are to see one length.
            x, logits = x[:, :, own], logits[:, :, own].double()
            new_highest = torch.maximum(highest, logits.amax(2))
            shrink = torch.exp(highest - new_highest)
            weights = torch.exp(logits - new_highest[:, :, None])
            highest, x = new_highest, x.double()
            weight = weight * shrink + weights.sum(2)
            sums = torch.stack([(weights * x).sum(2), (weights * x.square()).sum(2)])
            moments = moments * shrink + sums
        return self._mean_and_std(moments / weight)

    def _mean_and_std(self, moments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 mean and deviation from float64 means of x and of its square."""
        mean, mean_square = moments
        variance = (mean_square - mean.square()).clamp(min=self.model.asp.eps)
        return mean.float(), variance.sqrt().float()


def _before_gate(block: SERes2NetBlock, x: torch.Tensor) -> torch.Tensor:
    """Return the input of a block's squeeze-and-excitation, (1, channels, frames)."""
    squeezed: torch.Tensor = block.tdnn2(block.res2net_block(block.tdnn1(x)))
    return squeezed
