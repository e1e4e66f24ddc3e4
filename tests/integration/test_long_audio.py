"""An hour of audio in little memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.checkout import DEMO

pytestmark = pytest.mark.integration

HOUR = 3600
RATE = 48000
MAX_GIGABYTES = 2

# In a process of its own, whose peak resident memory (in kB on Linux) is its own too.
EMBED = """
import resource, sys
from xvectors import XVectorProvider, XVectorRunner
manifest, output_dir, encoder = sys.argv[1:]
config = {"xvector": {"pretrained_model": encoder, "device": "cpu"}}
params = {"manifest_path": manifest, "output_dir": output_dir}
(result,) = XVectorRunner(XVectorProvider(config, params), batch_size=20)([0])
print(result["status"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write_hour(path: Path) -> None:
    """Write an hour of 48 kHz stereo: speech, ever louder and softer, and a little noise."""
    speech, _ = soundfile.read(DEMO / "wav" / "edith" / "edith_00.flac", dtype="float32")
    speech = np.tile(speech, 20)[: 30 * RATE]
    generator = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for _ in range(HOUR // 30):
            block = generator.uniform(0.1, 1) * np.stack([speech, 0.5 * speech], 1)
            file.write(block + generator.normal(0, 1e-3, block.shape))


def test_an_hour_of_audio_fits_into_memory(tmp_path):
    write_hour(tmp_path / "hour.wav")
    (tmp_path / "train.tsv").write_text("hour\thour.wav\ttext\tspeaker\n")
    arguments = [str(tmp_path / "train.tsv"), str(tmp_path / "out"), str(DEMO / "encoder")]
    result = subprocess.run(
        [sys.executable, "-c", EMBED, *arguments], capture_output=True, text=True, check=False
    )
    (tmp_path / "hour.wav").unlink()
    assert result.returncode == 0, result.stderr
    status, kilobytes = result.stdout.split()
    assert status == "ok"
    assert int(kilobytes) < MAX_GIGABYTES * 1e6
    assert (tmp_path / "out" / "hour.pt").is_file()
