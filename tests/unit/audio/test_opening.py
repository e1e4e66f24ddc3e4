import numpy as np
import soundfile

from xvectors.audio.opening import durations


def speechlike(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.normal(0, 0.1, (int(seconds * rate), channels)).astype("float32")


def test_durations_come_from_headers(tmp_path):
    soundfile.write(tmp_path / "a.flac", speechlike(1.5, 8000), 8000)
    (tmp_path / "b.wav").write_bytes(b"rubbish")
    paths = [str(tmp_path / name) for name in ("a.flac", "b.wav", "none.wav")]
    assert durations(paths) == [1.5, 0.0, 0.0]
