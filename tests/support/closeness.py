"""The contract's bound on what an embedding may differ from its toolkit's own."""

import torch

# Of an embedding's largest element.
TOLERANCE = 1e-4


def assert_close(embeddings: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare embeddings of shape (n, dim), each with its own tolerance."""
    assert embeddings.shape == expected.shape
    difference = (embeddings - expected).abs().amax(1) / expected.abs().amax(1)
    assert difference.max() <= TOLERANCE
