import numpy as np
import pytest
import soundfile
import torch

from xvectors.config import toolkits
from xvectors.encoders.device import has_bf16
from xvectors.encoders.encoder import load_encoder
from xvectors.errors import EncoderError, UtteranceError


def test_bf16_only_where_the_processor_has_it(demo_encoder, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    with pytest.raises(EncoderError, match="bf16 is not native to this machine's cpu") as error:
        load_encoder("speechbrain", demo_encoder, "cpu", "bf16")
    assert len(str(error.value).splitlines()) == 1
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert has_bf16("cpu")


@pytest.mark.parametrize(
    ("toolkit", "message"),
    [
        ("kaldi", "no toolkit is named kaldi, there are speechbrain, espnet, rawnet"),
        ("espnet", r"espnet needs packages that are not installed \(not-there\): pip install"),
    ],
)
def test_a_toolkit_that_is_not_there(demo_encoder, tmp_path, monkeypatch, toolkit, message):
    (tmp_path / "espnet.txt").write_text("not-there==1.0\n")
    monkeypatch.setattr(toolkits, "ENVS", tmp_path)
    with pytest.raises(EncoderError, match=message):
        load_encoder(toolkit, demo_encoder, "cpu", "fp32")


def test_signals_as_they_were_read(demo_encoder):
    encoder = load_encoder("speechbrain", demo_encoder, "cpu", "fp32")
    paths = sorted((demo_encoder.parent / "wav").glob("*/*_0[0-1].*"))
    expected = encoder.embed([encoder.read(str(path)) for path in paths])
    encoder.normalizer.together = True
    signals = [encoder.read(str(path)) for path in paths]
    assert {signal.rate for signal in signals} != {encoder.sample_rate}
    difference = (encoder.embed(signals) - expected).abs().amax(1)
    assert (difference <= 1e-5 * expected.abs().amax(1)).all()


@pytest.mark.parametrize("together", [False, True])
def test_a_signal_that_is_too_short(demo_encoder, tmp_path, together):
    encoder = load_encoder("speechbrain", demo_encoder, "cpu", "fp32")
    encoder.normalizer.together = together
    path = tmp_path / "short.wav"
    soundfile.write(path, np.zeros(800), 24000)
    with pytest.raises(UtteranceError, match=r"too short: .* has 0.0334 s, .* needs 0.0400 s"):
        encoder.read(str(path))


def test_the_size_of_embeddings(demo_encoder):
    encoder = load_encoder("speechbrain", demo_encoder, "cpu", "fp32")
    assert encoder.embed([torch.zeros(encoder.min_samples)]).shape == (1, 192)
