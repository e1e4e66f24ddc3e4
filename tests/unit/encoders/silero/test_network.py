import pytest
import soundfile
import torch

from xvectors.config.toolkits import missing_packages

if missing_packages("silero"):
    pytest.skip("silero-vad is not installed: make silero", allow_module_level=True)

from tests.support.checkout import DEMO
from tests.support.silero_package import load_model
from xvectors.encoders.silero import network as network_module
from xvectors.encoders.silero.detector import model_path
from xvectors.encoders.silero.network import WINDOW_SAMPLES, load_network
from xvectors.errors import EncoderError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.load:DeprecationWarning")


@pytest.mark.parametrize("block_windows", [7, 1024])
@pytest.mark.parametrize("n_samples", [1, 512, 40_000])
def test_probabilities_are_the_packages(monkeypatch, block_windows, n_samples):
    monkeypatch.setattr(network_module, "BLOCK_WINDOWS", block_windows)
    samples, _ = soundfile.read(DEMO / "wav" / "alba" / "alba_03.flac", dtype="float32")
    signal = torch.from_numpy(samples[3000 : 3000 + n_samples])
    model = load_model()
    padded = torch.nn.functional.pad(signal, (0, -n_samples % WINDOW_SAMPLES))
    with torch.inference_mode():
        expected = [model(window, 16000).item() for window in padded.split(WINDOW_SAMPLES)]
        found = load_network(model_path())(signal)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_a_file_that_is_not_the_model(tmp_path):
    (tmp_path / "model.jit").write_bytes(b"rubbish")
    with pytest.raises(EncoderError, match=r"model\.jit: not the model of silero-vad"):
        load_network(tmp_path / "model.jit")
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "model.jit"))
    with pytest.raises(EncoderError, match="not the model of silero-vad"):
        load_network(tmp_path / "model.jit")
