import pytest
import torch

from tests.support.closeness import assert_close
from xvectors.encoders.speechbrain import chunked_ecapa


@pytest.mark.parametrize("chunk_frames", [100, 331, 3000])
def test_long_signals_in_chunks_equal_the_whole(encoder, signals, monkeypatch, chunk_frames):
    fade = torch.linspace(0.01, 1, len(signals[-1]))
    signal = torch.cat([signals[-1] * fade, torch.zeros(4000), signals[-1]])[:-77]
    whole = encoder.embed([signal])
    monkeypatch.setattr(chunked_ecapa, "CHUNK_FRAMES", chunk_frames)
    monkeypatch.setattr(encoder.budget, "longest", 100)
    assert_close(encoder.embed([signal]), whole)
