"""The shortest signal that an encoder takes, found by trying."""

import warnings
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path

import torch

from xvectors.errors import EncoderError, first_line, machine_problem

# Exceptions of networks for a signal that is too short for one of their layers.
UNFIT = (RuntimeError, ValueError, IndexError, AssertionError)


def find_shortest(
    embed: Callable[[list[torch.Tensor]], torch.Tensor], sample_rate: int, source: Path
) -> int:
    """Return the samples of the shortest signal, up to a second, with a finite embedding.

    It depends on the kernels and strides of every layer, and there are many kinds. Messages name
    the encoder's `source`.

    Raises:
        EncoderError: A second of noise is not embedded.

    """
    noise = torch.randn(sample_rate, generator=torch.Generator().manual_seed(0))

    def is_taken(n_samples: int) -> bool:
        try:
            with warnings.catch_warnings():
                # Of a deviation over a single frame, which is not finite.
                warnings.filterwarnings("ignore", "std\\(\\): degrees of freedom", UserWarning)
                return bool(embed([noise[:n_samples]]).isfinite().all())
        except UNFIT as error:
            if machine_problem(error):
                raise
            return False

    try:
        embed([noise])
    except UNFIT as error:
        if machine_problem(error):
            raise
        raise EncoderError(
            f"{source}: this encoder fails on a second of noise: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    return 1 + bisect_left(range(1, sample_rate), True, key=is_taken)
