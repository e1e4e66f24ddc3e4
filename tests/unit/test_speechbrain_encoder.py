import shutil
from pathlib import Path

import pytest
import soundfile
import torch

from xvectors import long_signals, speechbrain_encoder
from xvectors.errors import EncoderError
from xvectors.speechbrain_encoder import SAMPLE_RATE, SpeechBrainEncoder


@pytest.fixture(scope="module")
def encoder(demo_encoder) -> SpeechBrainEncoder:
    return SpeechBrainEncoder(demo_encoder, "cpu", "fp32")


@pytest.fixture(scope="module")
def signals(demo_encoder, encoder) -> list[torch.Tensor]:
    """Speech of many lengths, from the shortest that the encoder takes."""
    found = []
    for path in sorted((demo_encoder.parent / "wav").glob("*/*_0[0-2].*")):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        found.append(encoder.normalize(torch.from_numpy(samples), rate))
    return [*found, found[0][: encoder.min_samples], found[1][:1000], torch.cat(found[:6])]


def assert_close(embeddings: torch.Tensor, expected: torch.Tensor) -> None:
    difference = (embeddings - expected).abs().amax(1) / expected.abs().amax(1)
    assert difference.max() <= 1e-4


def test_companions_do_not_matter(encoder, signals):
    alone = torch.cat([encoder.embed([signal]) for signal in signals])
    assert_close(encoder.embed(signals), alone)
    assert_close(encoder.embed(signals[::-1]).flip(0), alone)


@pytest.mark.parametrize("chunk_frames", [100, 331, 3000])
def test_long_signals_in_chunks_equal_the_whole(encoder, signals, monkeypatch, chunk_frames):
    fade = torch.linspace(0.01, 1, len(signals[-1]))
    signal = torch.cat([signals[-1] * fade, torch.zeros(4000), signals[-1]])[:-77]
    whole = encoder.embed([signal])
    monkeypatch.setattr(long_signals, "CHUNK_FRAMES", chunk_frames)
    monkeypatch.setattr(speechbrain_encoder, "MAX_WHOLE_SECONDS", 1)
    assert_close(encoder.embed([signal]), whole)


def test_the_shortest_signal_is_the_shortest_that_speechbrain_takes(encoder, reference, signals):
    assert encoder.min_samples == 4 * SAMPLE_RATE // 100
    shortest = signals[0][: encoder.min_samples]
    assert encoder.embed([shortest]).isfinite().all()
    with pytest.raises(RuntimeError, match="Padding size"):
        reference.classifier.encode_batch(shortest[:-1])


def test_silence_gets_an_embedding_like_speechbrains(encoder, reference):
    silence = torch.zeros(SAMPLE_RATE)
    expected = reference.classifier.encode_batch(silence).reshape(1, -1)
    assert_close(encoder.embed([silence]), expected)


def test_bf16_stays_close(demo_encoder, encoder, signals):
    exact = encoder.embed(signals)
    rounded = SpeechBrainEncoder(demo_encoder, "cpu", "bf16").embed(signals)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(exact, rounded).min() >= 0.9999
    assert cosine(exact - exact.mean(0), rounded - rounded.mean(0)).min() >= 0.998
    assert rounded.dtype == torch.float32


def test_a_folder_that_is_no_encoder(tmp_path):
    with pytest.raises(EncoderError, match=r"hyperparams.yaml is missing"):
        SpeechBrainEncoder(tmp_path, "cpu", "fp32")


@pytest.mark.parametrize("name", ["embedding_model.ckpt", "classifier.ckpt", "hyperparams.yaml"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_encoder_is_one_line(tmp_path, demo_encoder, name, damage):
    folder = Path(shutil.copytree(demo_encoder, tmp_path / "encoder"))
    if damage == "gone":
        (folder / name).unlink()
    else:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(EncoderError) as error:
        SpeechBrainEncoder(folder, "cpu", "fp32")
    assert str(folder) in str(error.value)
    assert len(str(error.value).splitlines()) == 1
