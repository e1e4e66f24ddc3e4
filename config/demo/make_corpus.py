"""Synthesise the demo's speech with espeak-ng and write its manifests.

Eight made-up speakers (a voice, a pitch and a speed each) say eight sentences each: five
for train, one for valid, two for test. Sampling rates and formats differ on purpose, and
one file is stereo, so that the demo exercises what real corpora bring.

Run it as ``python config/demo/make_corpus.py``; it needs Debian's ``espeak-ng``.
"""

import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
import torchaudio

DEMO = Path(__file__).resolve().parent


class Speaker(NamedTuple):
    """A made-up speaker: an espeak-ng voice, its pitch (0 to 99) and speed (words a minute)."""

    name: str
    voice: str
    pitch: int
    speed: int
    sample_rate: int
    suffix: str


SPEAKERS = (
    Speaker("alba", "en-gb-scotland+f2", 62, 150, 16000, ".flac"),
    Speaker("boris", "en-us+m3", 22, 140, 16000, ".wav"),
    Speaker("clara", "en-us+f4", 72, 170, 24000, ".flac"),
    Speaker("dmitri", "en-gb-x-rp+m7", 38, 155, 22050, ".flac"),
    Speaker("edith", "en-gb+f5", 50, 135, 44100, ".flac"),
    Speaker("fergus", "en-gb-scotland+m1", 45, 180, 8000, ".wav"),
    Speaker("grace", "en-029+f3", 82, 160, 32000, ".flac"),
    Speaker("hugo", "en-us-nyc+m5", 12, 165, 11025, ".wav"),
)

SENTENCES = (
    "The harbour was quiet before sunrise.",
    "She keeps her letters in a wooden box.",
    "Turn left at the old stone bridge.",
    "Nobody expected snow in the middle of April.",
    "He plays the violin every evening after supper.",
    "Seven boats left the bay, and six came home.",
    "Please bring me a cup of tea.",
    "A small brown bird sat on the garden wall.",
)

SPLIT_OF_SENTENCE = ("train", "train", "train", "train", "train", "valid", "test", "test")
STEREO_UTTERANCE = "edith_02"
# The speaker that the manifest names, where it is wrong on purpose, for the check of labels.
WRONG_LABELS = {"clara_04": "edith"}


def synthesise(voice: str, pitch: int, speed: int, text: str) -> tuple[torch.Tensor, int]:
    """Return what espeak-ng says, a float32 signal of shape (samples,), and its rate in Hz."""
    settings = ["-v", voice, "-p", str(pitch), "-s", str(speed)]
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(["espeak-ng", *settings, "-w", file.name, text], check=True)
        samples, sample_rate = soundfile.read(file.name, dtype="float32")
    return torch.from_numpy(samples), sample_rate


def as_stereo(signal: torch.Tensor) -> torch.Tensor:
    """Return (samples, 2): the voice, louder on the left, with a little noise on each side."""
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 1e-3, (len(signal), 2)))
    return torch.stack([signal, 0.6 * signal], dim=1) + noise.float()


def main() -> None:
    """Write ``wav/<speaker>/<utterance>`` and ``manifest/<split>.tsv`` beside this script."""
    lines: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for speaker in SPEAKERS:
        folder = DEMO / "wav" / speaker.name
        folder.mkdir(parents=True, exist_ok=True)
        for number, sentence in enumerate(SENTENCES):
            utt_id = f"{speaker.name}_{number:02d}"
            signal, espeak_rate = synthesise(speaker.voice, speaker.pitch, speaker.speed, sentence)
            signal = torchaudio.functional.resample(signal, espeak_rate, speaker.sample_rate)
            if utt_id == STEREO_UTTERANCE:
                signal = as_stereo(signal)
            path = folder / f"{utt_id}{speaker.suffix}"
            soundfile.write(path, signal.numpy(), speaker.sample_rate, subtype="PCM_16")
            label = WRONG_LABELS.get(utt_id, speaker.name)
            fields = (utt_id, f"../wav/{speaker.name}/{path.name}", sentence, label)
            lines[SPLIT_OF_SENTENCE[number]].append("\t".join(fields) + "\n")
    (DEMO / "manifest").mkdir(exist_ok=True)
    for split, split_lines in lines.items():
        (DEMO / "manifest" / f"{split}.tsv").write_text("".join(split_lines), encoding="utf-8")


if __name__ == "__main__":
    main()
