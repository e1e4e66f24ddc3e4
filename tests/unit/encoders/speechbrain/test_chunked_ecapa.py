import pytest
import torch

from tests.support.closeness import assert_close
from xvectors.encoders.speechbrain.chunked_ecapa import Chunking


@pytest.mark.parametrize("is_even", [False, True])
@pytest.mark.parametrize("chunk_frames", [100, 331, 3000])
def test_long_signals_in_chunks_equal_the_whole(
    encoder, signals, monkeypatch, chunk_frames, is_even
):
    fade = torch.linspace(0.01, 1, len(signals[-1]))
    signal = torch.cat([signals[-1] * fade, torch.zeros(4000), signals[-1]])[:-77]
    whole = encoder.embed([signal])
    monkeypatch.setattr(encoder, "chunking", Chunking(chunk_frames, is_even))
    monkeypatch.setattr(encoder.budget, "longest", 100)
    assert_close(encoder.embed([signal]), whole)


def test_even_chunks_cover_a_signal_in_one_length():
    for n_frames in (1, 99, 100, 140, 141, 300, 12345):
        chunks = list(Chunking(100, is_even=True).chunks(n_frames, halo=20))
        assert {one.frames.stop - one.frames.start for one in chunks} == {min(n_frames, 140)}
        own = [
            (one.frames.start + one.own.start, one.frames.start + one.own.stop) for one in chunks
        ]
        assert [start for start, _ in own] == [0, *(end for _, end in own[:-1])]
        assert own[-1][1] == n_frames
        for one, (start, end) in zip(chunks, own, strict=True):
            assert one.frames.start <= max(start - 20, 0)
            assert one.frames.stop >= min(end + 20, n_frames)
