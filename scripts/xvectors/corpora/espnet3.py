"""Reader of ESPnet3's manifests."""

from collections.abc import Iterator
from pathlib import Path

from xvectors.corpora.entries import Entry, read_lines
from xvectors.manifest.reading import locate_audio, read_manifest


def read_espnet3(path: Path) -> Iterator[Entry]:
    """ESPnet3: the manifest that its recipes write, a TSV file without a header."""
    utterances = read_manifest(path).utterances
    for (place, line), utterance in zip(read_lines(path), utterances, strict=True):
        text = line.split("\t")[2]
        wav = locate_audio(path, utterance.wav_path)
        yield Entry(place, utterance.utt_id, wav, text, *utterance[2:])
