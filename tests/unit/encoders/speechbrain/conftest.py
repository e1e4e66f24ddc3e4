import pytest
import soundfile
import torch

from xvectors.encoders.speechbrain.encoder import SpeechBrainEncoder


@pytest.fixture(scope="module")
def encoder(demo_encoder) -> SpeechBrainEncoder:
    return SpeechBrainEncoder(demo_encoder, "cpu", "fp32")


@pytest.fixture(scope="module")
def signals(demo_encoder, encoder) -> list[torch.Tensor]:
    """Speech of many lengths, from the shortest that the encoder takes."""
    found = []
    for path in sorted((demo_encoder.parent / "wav").glob("*/*_0[0-2].*")):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        found.append(encoder.normalizer(torch.from_numpy(samples), rate))
    return [*found, found[0][: encoder.min_samples], found[1][:1000], torch.cat(found[:6])]


@pytest.fixture(scope="module")
def alone(reference, signals) -> torch.Tensor:
    """SpeechBrain's own embeddings of the signals, one at a time."""
    return torch.cat([reference.classifier.encode_batch(signal)[0] for signal in signals])
