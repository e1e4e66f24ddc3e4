"""Readers of corpora whose folders and file names give the speakers and utterances."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from xvectors.audio.opening import AUDIO_SUFFIXES
from xvectors.corpora.entries import (
    Entry,
    LeftOut,
    list_files,
    list_matches,
    read_lines,
    read_texts,
)
from xvectors.errors import CorpusError

LJSPEECH_SPEAKER = "LJ"
# The option's value that makes each utterance a speaker of its own.
EACH_UTTERANCE = "{utterance}"


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


def read_folder(path: Path, pattern: str, speaker: str | None = None) -> Iterator[Entry | LeftOut]:
    """Any folder: audio files at any depth, selected and named by a ``pattern``."""
    expression = path_expression(pattern)
    suffixes = (AUDIO_SUFFIXES | {Path(pattern).suffix}) - {""}
    for wav in list_files(path):
        relative = wav.relative_to(path).as_posix()
        if wav.suffix not in suffixes and wav.suffix.lower() not in suffixes:
            yield LeftOut(relative, f"{wav.suffix or 'no suffix'}: not an audio file by its name")
        elif (match := expression.fullmatch(relative)) is None:
            yield LeftOut(relative, f"{wav.suffix}: {_mismatch(pattern, relative)}")
        else:
            names = match.groupdict()
            utt_id = names.get("utterance") or relative.removesuffix(wav.suffix)
            own = utt_id if speaker == EACH_UTTERANCE else speaker
            yield Entry(str(wav), utt_id, str(wav), "", names.get("speaker") or own or "")


def pattern_problems(pattern: str, speaker: str | None) -> Iterator[str]:
    """Yield ``key: problem`` if a folder's pattern and speaker do not fit together."""
    has_speaker = "{speaker}" in pattern
    if not has_speaker and speaker is None:
        yield (
            f"pattern: {pattern!r} has no {{speaker}}; write it where the speaker's name is, as in "
            "'{speaker}/**/*.wav', or give speaker: one name for all, or '{utterance}' if no "
            "speakers are known"
        )
    if has_speaker and speaker is not None:
        yield f"speaker: {pattern!r} has {{speaker}} already; leave one of them out"


def _mismatch(pattern: str, relative: str) -> str:
    """Return the reason why an audio file's path does not match a pattern, if it is known."""
    suffix, wanted = PurePosixPath(relative).suffix, PurePosixPath(pattern).suffix
    if wanted not in ("", suffix) and "*" not in wanted and "{" not in wanted:
        return f"pattern {pattern} wants {wanted}"
    depth, wanted_depth = relative.count("/"), pattern.count("/")
    if "**" not in pattern and depth != wanted_depth:
        return f"pattern {pattern} wants files {wanted_depth} folders deep, not {depth}"
    return f"does not match pattern {pattern}"


def path_expression(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a path below a folder for a pattern.

    ``*`` and the two names match anything without a slash, and ``**`` matches anything. The
    speaker's name is as short as possible, and must be equal wherever it occurs.
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
