import numpy as np
import pytest
import torch

from xvectors.audio.strip import Blocks, lay_on_strip, round_up


@pytest.mark.parametrize("seed", range(50))
def test_no_block_sees_two_signals(seed):
    dice = np.random.default_rng(seed)
    lengths = dice.integers(1, 60, dice.integers(1, 7))
    step, before, after = (int(dice.integers(*bounds)) for bounds in ((1, 21), (0, 16), (0, 16)))
    blocks = Blocks(before + step + after, step, before, after)
    signals = [torch.full((int(n),), float(i)) for i, n in enumerate(lengths, start=1)]
    strip = lay_on_strip(signals, blocks, few_sizes=bool(seed % 2))
    cut = strip.samples.unfold(0, blocks.size, step)
    for signal, first in zip(signals, strip.first_blocks, strict=True):
        alone = torch.nn.functional.pad(signal, (before, blocks.size + step))
        # Those that reach no further than they may.
        n_own = max(1 + (len(signal) + after + before - blocks.size) // step, 0)
        expected = alone.unfold(0, blocks.size, step)[:n_own]
        assert torch.equal(cut[first : first + n_own], expected)
    if seed % 2:
        assert len(cut) == round_up(len(cut))


def test_there_are_few_sizes():
    rounded = {round_up(number) for number in range(1, 2**16 + 1)}
    assert len(rounded) == 3 + 4 * 14 + 1
    assert all(n <= round_up(n) <= 1.25 * n for n in range(1, 2000))
