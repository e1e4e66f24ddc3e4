"""Signals of different lengths on one strip, which is cut into blocks as if it were one signal.

A GPU then takes as many operations for a hundred signals as for one, and computes on little
padding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

# A number rounded up to this many leading bits is at most a quarter larger.
LEADING_BITS = 3


class Blocks(NamedTuple):
    """Overlapping blocks of a signal.

    Attributes:
        size: Samples of a block.
        step: Samples from one block to the next.
        before: Samples of a signal's first block that lie before the signal.
        after: Samples behind a signal that its last block may reach.

    """

    size: int
    step: int
    before: int
    after: int


class Strip(NamedTuple):
    """Signals one after the other, zeros between them, so that no block sees two signals.

    Attributes:
        samples: float32, (samples,). Cut into blocks, it gives those of each signal, and a few
            between signals that mean nothing.
        first_blocks: The number of each signal's first block.

    """

    samples: torch.Tensor
    first_blocks: list[int]


def lay_on_strip(signals: Sequence[torch.Tensor], blocks: Blocks, few_sizes: bool = False) -> Strip:
    """Lay signals, float32, (samples,), on a strip that can be cut into such blocks.

    With `few_sizes`, the strip is lengthened to one of few numbers of blocks: four between a power
    of two and the next.
    """
    gap = max(blocks.before, blocks.after)
    first_blocks, n_blocks = [], 0
    n_own = [-(-(len(signal) + gap) // blocks.step) for signal in signals]
    for n in n_own:
        first_blocks.append(n_blocks)
        n_blocks += n
    n_missing = round_up(n_blocks) - n_blocks if few_sizes else 0
    n_behind = n_missing * blocks.step + max(blocks.size - blocks.step - blocks.before, 0)
    n_zeros = [n * blocks.step - len(one) for n, one in zip(n_own, signals, strict=True)]
    n_zeros[-1] += n_behind
    zeros = signals[0].new_zeros(max(blocks.before, *n_zeros))
    parts = [zeros[: blocks.before]]
    for signal, n in zip(signals, n_zeros, strict=True):
        parts += [signal, zeros[:n]]
    return Strip(torch.cat(parts), first_blocks)


def round_up(number: int) -> int:
    """Return the next number with only few leading bits, so that there are few of them."""
    step = 1 << max(number.bit_length() - LEADING_BITS, 0)
    return -(-number // step) * step
