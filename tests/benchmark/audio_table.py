"""What audio is read, and how exactly: ``python -m tests.benchmark.audio_table``.

Writes a recording of the demo in every kind, rate and number of channels, reads it as a job does,
and prints tables for docs/audio.md. ``--hours`` adds an hour of several kinds, each read and
embedded in a process of its own, which needs 6 GB of disk and some minutes.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from tests.support.checkout import DEMO
from tests.support.m4a import write_m4a
from xvectors.audio.reading import read_signal
from xvectors.audio.resampling import Normalizer
from xvectors.errors import UtteranceError

RATE = 16000
KINDS = ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3", "NIST"]
SUFFIXES = {"AIFF": ".aiff", "NIST": ".sph"}
RATES = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000]
ODD_RATES = [4000, 16001, 44056, 44101, 191999, 384000]
HOURS = [("WAV", "PCM_16", 48000, 2), ("FLAC", "PCM_16", 44100, 2), ("OGG", "OPUS", 48000, 1)]
HOURS += [("MP3", "MPEG_LAYER_III", 44100, 2), ("WAV", "PCM_16", 44101, 1)]
HOURS += [("RF64", "PCM_U8", 192000, 8), ("M4A", "aac", 44100, 1)]

# In a process of its own, for its memory.
EMBED = """
import sys
from tests.benchmark.peak_memory import peak_bytes
from xvectors import XVectorProvider, XVectorRunner
manifest, output_dir, encoder = sys.argv[1:]
config = {"xvector": {"pretrained_model": encoder, "device": "cpu"}}
params = {"manifest_path": manifest, "output_dir": output_dir}
(result,) = XVectorRunner(XVectorProvider(config, params), batch_size=20)([0])
print(result.get("reason", "ok"), f"{peak_bytes() / 1e9:.2f} GB", sep=" | ")
"""

normalizer = Normalizer(RATE)


def recording(rate: int, channels: int) -> np.ndarray:
    """Return a recording, (samples, channels), at a rate, each channel softer than the last."""
    speech, source = soundfile.read(DEMO / "wav" / "edith" / "edith_00.flac", dtype="float32")
    signal = Normalizer(rate)(torch.from_numpy(speech[:, None]), source).numpy()
    return np.stack([signal / (1 + channel) for channel in range(channels)], 1)


def row(path: Path, samples: np.ndarray, rate: int, write: Callable[[], None]) -> str:
    """Return what came out of a file: how far it is off its source, or why it is not read."""
    try:
        write()
    except (soundfile.SoundFileError, ValueError):
        return ""  # A kind that does not exist at this rate or with so many channels.
    try:
        found = read_signal(str(path), normalizer).samples
    except UtteranceError as error:
        return str(error).replace(str(path), path.name)
    expected = normalizer(torch.from_numpy(samples), rate)
    length = min(len(found), len(expected))
    noise = (found[:length] - expected[:length]).square().mean()
    ratio = 10 * torch.log10(expected.square().mean() / noise.clamp(min=1e-20))
    difference = "exact" if noise < 1e-14 else f"{ratio:.0f} dB below the speech"
    return f"{difference}, {len(found) - len(expected):+d} samples"


def kinds(folder: Path) -> None:
    """Print a line for every kind that libsndfile or FFmpeg writes."""
    print("| kind | what came out (8 kHz; 16 kHz stereo) |\n|---|---|")
    for kind in KINDS:
        for subtype in soundfile.available_subtypes(kind):
            path = folder / f"a{SUFFIXES.get(kind, '.' + kind.lower())}"
            cells = []
            for rate, channels in ((8000, 1), (16000, 2)):
                samples = recording(rate, channels)

                def write(samples=samples, rate=rate, path=path, subtype=subtype, kind=kind):
                    soundfile.write(path, samples, rate, subtype, format=kind)

                cells.append(row(path, samples, rate, write) or "does not exist")
            print(f"| {kind} {subtype} | {'; '.join(cells)} |")
    for name, codec in (("a.m4a", "aac"), ("a.m4a", "alac"), ("a.aac", "aac")):
        cells = []
        for rate, channels in ((8000, 1), (16000, 2)):
            path, samples = folder / name, recording(rate, channels)

            def write(samples=samples, rate=rate, path=path, codec=codec):
                write_m4a(path, samples, rate, codec)

            cells.append(row(path, samples, rate, write))
        print(f"| {name[1:]} {codec} | {'; '.join(cells)} |")


def rates(folder: Path) -> None:
    """Print a line for every rate, with one, two and eight channels."""
    print("\n| rate in Hz | 1 channel | 2 channels | 8 channels |\n|---|---|---|---|")
    for rate in RATES + ODD_RATES:
        cells = []
        for channels in (1, 2, 8):
            path, samples = folder / "a.wav", recording(rate, channels)

            def write(samples=samples, rate=rate, path=path):
                soundfile.write(path, samples, rate, "FLOAT")

            cells.append(row(path, samples, rate, write))
        print(f"| {rate:,} | {' | '.join(cells)} |")


def write_hour(path: Path, kind: str, subtype: str, rate: int, channels: int) -> None:
    """Write an hour of speech."""
    block = np.tile(recording(rate, channels), (20, 1))[: 10 * rate]
    if kind == "M4A":
        write_m4a(path, np.tile(block, (360, 1)), rate, subtype)
        return
    with soundfile.SoundFile(path, "w", rate, channels, subtype, format=kind) as file:
        for _ in range(360):
            file.write(block)


def hours(folder: Path) -> None:
    """Print a line for an hour of several kinds: what comes out, and the memory that it takes."""
    print("\n| an hour of | what came out | peak memory |\n|---|---|---|")
    for kind, subtype, rate, channels in HOURS:
        path = folder / f"hour.{kind.lower()}"
        write_hour(path, kind, subtype, rate, channels)
        (folder / "train.tsv").write_text(f"hour\t{path.name}\t\ts\n")
        arguments = [str(folder / "train.tsv"), str(folder / "out"), str(DEMO / "encoder")]
        result = subprocess.run(
            [sys.executable, "-c", EMBED, *arguments], capture_output=True, text=True, check=True
        )
        name = f"{kind} {subtype}, {rate:,} Hz, {channels} ch."
        print(f"| {name} | {result.stdout.strip()} |", flush=True)
        path.unlink()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="What audio is read, and how exactly.")
    parser.add_argument("--hours", action="store_true", help="read an hour of several kinds too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kinds(Path(folder))
        rates(Path(folder))
        if options.hours:
            hours(Path(folder))


if __name__ == "__main__":
    main()
