"""Manifests of any length: names, paths, texts and durations as LibriTTS has them."""

import os
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

UTTERANCES_OF_CHAPTER = 30
CHAPTERS_OF_SPEAKER = 5
# The shortest and the longest utterance of LibriTTS' training sets, about, in seconds.
SHORTEST, LONGEST = 0.3, 30.0
TEXT = "He was in a fevered state of mind, owing to the blight his wife's action threatened."
# ext4 allows 65,000 names of one file.
LINKS_OF_FILE = 50_000


def lines(n_utterances: int) -> Iterator[tuple[str, str]]:
    """Yield each line of a manifest, its durations known, and the path of its audio file."""
    numbers = random.Random(0)
    for i in range(n_utterances):
        chapter, utterance = divmod(i, UTTERANCES_OF_CHAPTER)
        speaker = chapter // CHAPTERS_OF_SPEAKER
        utt_id = f"{speaker}_{100_000 + chapter}_{utterance:06d}_{i % 7:06d}"
        wav_path = f"train-clean-360/{speaker}/{100_000 + chapter}/{utt_id}.wav"
        text = TEXT[: numbers.randrange(20, len(TEXT))]
        seconds = numbers.triangular(SHORTEST, LONGEST, 2.0)
        yield f"{utt_id}\t{wav_path}\t{text}\t{speaker}\tseconds={seconds:.2f}\n", wav_path


def make_manifest(folder: Path, n_utterances: int) -> Path:
    """Write ``train.tsv``, and the audio files that it names: each a name of its own, no content.

    Nobody reads them here, but all are asked for their size and time. The names are hard links
    to a few files, which leaves the disk's inodes to the embeddings.
    """
    folder.mkdir(parents=True)
    manifest = folder / "train.tsv"
    made = lines(n_utterances)
    with manifest.open("w", encoding="utf-8") as file:
        for number in range(0, n_utterances, LINKS_OF_FILE):
            content = folder / f"content-{number}"
            content.write_bytes(b"no audio")
            for line, wav_path in islice(made, LINKS_OF_FILE):
                file.write(line)
                path = f"{folder}/{wav_path}"
                try:
                    os.link(content, path)
                except FileNotFoundError:
                    Path(path).parent.mkdir(parents=True)
                    os.link(content, path)
    return manifest
