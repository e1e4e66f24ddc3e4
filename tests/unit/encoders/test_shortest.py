import pytest
import torch

from xvectors.encoders.shortest import find_shortest
from xvectors.errors import EncoderError


def embed_from(n_samples: int):
    def embed(signals):
        (signal,) = signals
        if len(signal) < n_samples // 2:
            raise RuntimeError("kernel size can't be greater than actual input size")
        return torch.full((1, 3), torch.nan if len(signal) < n_samples else 1.0)

    return embed


@pytest.mark.parametrize("n_samples", [1, 2, 400, 15999, 16000])
def test_the_shortest_is_found(tmp_path, n_samples):
    assert find_shortest(embed_from(n_samples), 16000, tmp_path) == n_samples


def test_an_encoder_that_takes_not_even_a_second(tmp_path):
    with pytest.raises(EncoderError, match="fails on a second of noise: RuntimeError: kernel"):
        find_shortest(embed_from(40000), 16000, tmp_path)


@pytest.mark.parametrize("limit", [9000, 20000])
def test_a_lack_of_memory_makes_no_signal_too_short(tmp_path, limit):
    def embed(signals):
        if len(signals[0]) < limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.zeros(1, 4)

    with pytest.raises(torch.OutOfMemoryError):
        find_shortest(embed, 16000, tmp_path)
