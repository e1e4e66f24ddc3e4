"""Readers of corpora whose folders and file names tell what is what."""

import re
from collections.abc import Iterator
from pathlib import Path

from xvectors.audio.opening import AUDIO_SUFFIXES
from xvectors.corpora.entries import Entry, list_files, list_matches, read_lines, read_texts
from xvectors.errors import CorpusError

LJSPEECH_SPEAKER = "LJ"


def read_libritts(path: Path, subsets: list[str] | None = None) -> Iterator[Entry]:
    """LibriTTS or LibriTTS-R: the folder with ``<subset>/<speaker>/<chapter>/<utterance>.wav``."""
    if subsets is None:
        audio = list_matches(path, "*/*/*/*.wav")
    else:
        audio = [wav for name in subsets for wav in list_matches(path / name, "*/*/*.wav")]
    texts = read_texts([wav.with_suffix(".normalized.txt") for wav in audio])
    for wav, text in zip(audio, texts, strict=True):
        yield Entry(str(wav), wav.stem, str(wav), text, wav.parent.parent.name)


def read_vctk(path: Path, microphone: str = "mic1") -> Iterator[Entry]:
    """VCTK: the folder with ``txt`` and ``wav48_silence_trimmed`` (0.92) or ``wav48``."""
    if (path / "wav48_silence_trimmed").is_dir():
        folder, suffix = path / "wav48_silence_trimmed", f"_{microphone}.flac"
    else:
        folder, suffix = path / "wav48", ".wav"
    audio = list_matches(folder, f"*/*{suffix}")
    stems = [wav.parent.name + "/" + wav.name.removesuffix(suffix) for wav in audio]
    texts = read_texts([path / "txt" / f"{stem}.txt" for stem in stems])
    for wav, stem, text in zip(audio, stems, texts, strict=True):
        speaker, utt_id = stem.split("/")
        yield Entry(str(wav), utt_id, str(wav), text, speaker)


def read_ljspeech(path: Path) -> Iterator[Entry]:
    """LJSpeech: the folder with ``metadata.csv`` and ``wavs``."""
    for place, line in read_lines(path / "metadata.csv"):
        utt_id, *texts = line.split("|")
        if not texts:
            raise CorpusError(f"{place}: not an id, a text and a normalized text between bars")
        wav = path / "wavs" / f"{utt_id}.wav"
        yield Entry(place, utt_id, str(wav), texts[-1], LJSPEECH_SPEAKER)


def read_folder(path: Path, pattern: str) -> Iterator[Entry]:
    """Any folder: audio files at any depth, chosen and understood by a ``pattern``."""
    expression = _as_expression(pattern)
    suffixes = (AUDIO_SUFFIXES | {Path(pattern).suffix}) - {""}
    for wav in list_files(path):
        relative = wav.relative_to(path).as_posix()
        match = expression.fullmatch(relative)
        if match and (wav.suffix in suffixes or wav.suffix.lower() in suffixes):
            utt_id = match.groupdict().get("utterance") or relative.removesuffix(wav.suffix)
            yield Entry(str(wav), utt_id, str(wav), "", match["speaker"])


def _as_expression(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a path for a folder's pattern.

    ``*`` and the two names stand for anything without a slash, ``**`` for anything. The speaker's
    name is as short as possible, and the same wherever it occurs.
    """
    expression, seen = "", set()
    for part in re.split(r"(\*\*/?|\*|\{\w*\})", pattern):
        if part in seen:
            expression += f"(?P={part[1:-1]})"
        elif part in ("{speaker}", "{utterance}"):
            seen.add(part)
            expression += r"(?P<speaker>[^/]+?)" if part == "{speaker}" else r"(?P<utterance>[^/]+)"
        elif part.startswith("{"):
            raise CorpusError(f"pattern: no such name: {part} (use {{speaker}} or {{utterance}})")
        else:
            wildcards = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*"}
            expression += wildcards.get(part, re.escape(part))
    return re.compile(expression, re.DOTALL)
