"""Oddities of a manifest as a whole: files of other kinds, and lines that look like mistakes."""

import unicodedata
from collections import defaultdict
from pathlib import Path

from xvectors.errors import ManifestError
from xvectors.manifest.lines import MIN_COLUMNS, Utterance, numbered_lines, parse_line

HEADER_IDS = {
    "utt_id",
    "utt",
    "utterance",
    "utterance_id",
    "uttid",
    "id",
    "name",
    "key",
    "segment_id",
}
HEADER_PATHS = {"wav_path", "wav", "path", "file", "filename", "audio", "audio_path", "audio_file"}
HEADER_PATHS |= {"audio_filepath", "wav_file", "wavpath", "filepath"}
SEPARATORS = {b",": "commas", b";": "semicolons", b"|": "bars", b" ": "spaces"}
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
MAX_SHOWN = 3
# More odd speakers than this are not compared.
MAX_ODD_SPEAKERS = 100_000


def is_header(line: bytes) -> bool:
    """Tell whether a manifest's first line names the columns."""
    columns = line.decode("utf-8", "replace").lower().split("\t")
    return columns[0].strip() in HEADER_IDS and (
        len(columns) > 1 and columns[1].strip() in HEADER_PATHS
    )


def hint_at_other_format(line: bytes) -> str | None:
    """Return a hint if a manifest's first line, which was refused, shows a file of another kind."""
    if line.startswith(UTF_16_MARKS):
        return "the file is UTF-16; save it as UTF-8"
    if line.startswith(b"{"):
        return "the file is JSON; name it under xvector.corpora, as kind nemo or lhotse"
    if line.count(b"\t") + 1 >= MIN_COLUMNS:
        return None
    for separator, name in SEPARATORS.items():
        if line.count(separator) >= MIN_COLUMNS - 1:
            return f"the columns are separated by {name}; separate them by tabs"
    return None


class Oddities:
    """Things in a manifest that are allowed but look like mistakes; collected line by line."""

    def __init__(self) -> None:
        self._n_lines = 0
        self._stray: list[int] = []
        self._n_stray = 0
        self._odd_speakers: dict[str, set[str]] = defaultdict(set)

    def collect(self, number: int, line: bytes, utterance: Utterance) -> None:
        """Take a line that was not refused."""
        self._n_lines += 1
        if line.count(b"\t") >= MIN_COLUMNS:
            columns = line.split(b"\t")[MIN_COLUMNS:]
            if any(column and b"=" not in column for column in columns):
                self._n_stray += 1
                if len(self._stray) < MAX_SHOWN:
                    self._stray.append(number)
        speaker = utterance.speaker_id
        if speaker.isascii() and speaker == speaker.strip():
            return
        plain = plain_name(speaker)
        if speaker != plain and len(self._odd_speakers) < MAX_ODD_SPEAKERS:
            self._odd_speakers[plain].add(speaker)

    def warnings(self, path: Path) -> list[str]:
        """Return a line for each kind of oddity; the manifest is read again only if necessary."""
        found = []
        if 0 < self._n_stray < self._n_lines:
            numbers = ", ".join(map(str, self._stray))
            found.append(
                f"{path}: {self._n_stray} of {self._n_lines} lines have a fifth column without "
                f"name=value (line {numbers}{', ...' if self._n_stray > MAX_SHOWN else ''}); a tab "
                "inside the text makes the rest of the text the speaker"
            )
        if self._odd_speakers:
            alike = _alike_speakers(path, self._odd_speakers)
            found += [
                f"{path}: speakers {', '.join(map(ascii, names))} look the same, but differ in "
                "outer spaces or in Unicode's form; they count as different speakers"
                for names in alike[:MAX_SHOWN]
            ]
            if len(alike) > MAX_SHOWN:
                found.append(f"{path}: and {len(alike) - MAX_SHOWN} more speakers like these")
        return found


def plain_name(name: str) -> str:
    """Return a name without outer spaces and in Unicode's composed form (NFC)."""
    name = name.strip()
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _alike_speakers(path: Path, odd: dict[str, set[str]]) -> list[list[str]]:
    """Return the names of the speakers that share a plain name with another one."""
    for _, _, line in numbered_lines(path):
        try:
            speaker = parse_line(line).speaker_id
        except ManifestError:
            continue  # it is refused elsewhere
        plain = plain_name(speaker)
        if plain in odd:
            odd[plain].add(speaker)
    return [sorted(names) for _, names in sorted(odd.items()) if len(names) > 1]
