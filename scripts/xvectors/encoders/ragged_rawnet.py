"""RawNet3 on ragged batches: few large matrix products, exact.

It serves ESPnet's network and that of RawNet3's authors, whose layers have the same names.
"""

import math
from typing import Any

import torch
from torch.nn import functional

from xvectors.encoders.ragged import Batch, Layer, Product, pass_through_res2net

# Blocks take longer signals in pieces of at most so many frames. Their matrices stay in a CPU's
# cache, and below the size at which the C library returns memory to the system every time.
CPU_PIECE_FRAMES = 3000
GPU_PIECE_FRAMES = 60000


class RaggedRawNet:
    """The layers that give frames, their weights arranged for matrices of (frames, channels)."""

    def __init__(self, network: Any, dtype: torch.dtype) -> None:
        """Take the weights of a network in evaluation, and the type of products."""
        self.dtype = dtype
        self.first = _Block(network.layer1, dtype, pool=5)
        self.second = _Block(network.layer2, dtype, pool=3)
        self.third = _Block(network.layer3, dtype, pool=1)
        self.last = Product(network.layer4, dtype, "zeros", relu=True)

    def __call__(self, batch: Batch, x: torch.Tensor) -> tuple[Batch, torch.Tensor]:
        """Map the layout and the matrix of features, (rows, channels), to those of frames."""
        at_first, first = self.first(batch, x)
        pooled, second = self.second(at_first, first)
        _, short = at_first.max_pool(first, self.second.pool)
        _, third = self.third(pooled, short + second)
        return pooled, self.last(pooled, torch.cat([short, second, third], dim=1))


class _Block:
    """A block of Res2Net, with max pooling and scaling by AFMS."""

    def __init__(self, block: Any, dtype: torch.dtype, pool: int) -> None:
        self.res2net = Res2Net(block, dtype)
        self.residual = (
            None
            if isinstance(block.residual, torch.nn.Identity)
            else Product(block.residual[0], dtype, "zeros")
        )
        self.pool = pool
        self.afms = block.afms

    def __call__(self, batch: Batch, x: torch.Tensor) -> tuple[Batch, torch.Tensor]:
        n_most = CPU_PIECE_FRAMES if x.device.type == "cpu" else GPU_PIECE_FRAMES
        is_long = len(batch.lengths) == 1 and len(x) > n_most
        batch, h = self._pool_in_pieces(batch, x, n_most) if is_long else self._pool(batch, x)
        gates = functional.linear(batch.means(h), self.afms.fc.weight, self.afms.fc.bias).sigmoid_()
        batch.scale(h, gates.to(h.dtype), (gates * self.afms.alpha[:, 0]).to(h.dtype))
        return batch, h

    def _pool(self, batch: Batch, x: torch.Tensor) -> tuple[Batch, torch.Tensor]:
        """Return what AFMS gets, and its layout."""
        h = self.res2net(batch, x)
        if self.residual is None:
            h += x
        else:
            self.residual.add(batch, x, h)
        return batch.max_pool(h, self.pool) if self.pool > 1 else (batch, h)

    def _pool_in_pieces(
        self, batch: Batch, x: torch.Tensor, n_most: int
    ) -> tuple[Batch, torch.Tensor]:
        """Return the same of one long utterance, using little memory.

        Each piece comes with the neighbouring frames that the convolutions reach.
        """
        # Pieces and what is cut off them are whole numbers of pools.
        n_frames = len(x) // self.pool * self.pool
        n_pools = math.ceil(n_frames / math.ceil(n_frames / n_most) / self.pool)
        n_own = n_pools * self.pool
        halo = math.ceil(self.res2net.reach / self.pool) * self.pool
        found = []
        for start in range(0, n_frames, n_own):
            end = min(start + n_own, n_frames)
            piece = x[max(start - halo, 0) : end + halo]
            layout = batch.of_lengths(torch.tensor([len(piece)]), batch.device)
            first = (start - max(start - halo, 0)) // self.pool
            _, pooled = self._pool(layout, piece)
            found.append(pooled[first : first + (end - start) // self.pool])
        lengths = torch.tensor([n_frames // self.pool])
        return batch.of_lengths(lengths, batch.device), torch.cat(found)


class Res2Net:
    """The layers that a block of RawNet3 and one of ECAPA-TDNN share."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        """Take the weights of a block in evaluation, and the type of products."""
        self.width = block.width
        self.before = Layer(block.conv1, block.bn1, dtype, "zeros")
        self.layers = [
            Layer(convolution, norm, dtype, "zeros")
            for convolution, norm in zip(block.convs, block.bns, strict=True)
        ]
        self.after = Layer(block.conv3, block.bn3, dtype, "zeros")
        # Frames on each side that an output depends on: every layer adds its own.
        products = [layer.product for layer in self.layers]
        self.reach = sum(one.dilation * (one.kernel_size // 2) for one in products)

    def __call__(self, batch: Batch, x: torch.Tensor) -> torch.Tensor:
        """Map (rows, inputs) to (rows, channels)."""
        h = self.before(batch, x)
        *groups, _ = torch.split(h, self.width, dim=1)
        pass_through_res2net(self.layers, batch, groups)
        return self.after(batch, h)
