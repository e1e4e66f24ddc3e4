"""Reader of Kaldi's data folders."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from xvectors.audio.containers import find_range
from xvectors.audio.opening import durations
from xvectors.audio.signal import Segment
from xvectors.config.paths import expand_path
from xvectors.corpora.entries import Entry, LeftOut, read_lines
from xvectors.errors import CorpusError

# Programs of wav.scp that do nothing but decode a file, and their arguments for that.
DECODERS = {
    "cat": re.compile("-"),
    "flac": re.compile("-[cds]+|--decode|--stdout|--silent"),
    "sph2pipe": re.compile("-p|-f|wav"),
}
# In Kaldi, a segment that ends at -1 ends with its recording.
END_OF_RECORDING = -1
# utt_id, recording, start and end.
SEGMENT_COLUMNS = 4


def read_kaldi(path: Path, root: str = ".") -> Iterator[Entry | LeftOut]:
    """Kaldi: the data folder with ``wav.scp``, and ``utt2spk``, ``text``, ``segments`` if any."""
    recordings = {
        name: (place, _audio_file(place, source, Path(root)))
        for name, (place, source) in _read_table(path / "wav.scp").items()
    }
    texts, speakers = _read_table(path / "text"), _read_table(path / "utt2spk")
    if (path / "segments").exists():
        utterances = _read_segments(path, recordings)
    else:
        utterances = ((place, name, wav, None) for name, (place, wav) in recordings.items())
    for place, utt_id, wav, segment in utterances:
        if segment is not None and not 0 <= segment.start < segment.end:
            late = "starts before 0" if segment.start < 0 else "does not end after its start"
            yield LeftOut(place, f"a segment that {late}")
            continue
        if speakers and utt_id not in speakers:
            raise CorpusError(f"{place}: {utt_id} is not in {path / 'utt2spk'}")
        _, text = texts.get(utt_id, (place, ""))
        _, speaker = speakers.get(utt_id, (place, utt_id))
        yield Entry(place, utt_id, wav, text, speaker, segment=segment)


def _read_segments(
    path: Path, recordings: dict[str, tuple[str, str]]
) -> Iterator[tuple[str, str, str, Segment | None]]:
    """Yield the place, the utt_id, the audio file and the segment of every segment."""
    for place, line in read_lines(path / "segments"):
        columns = line.split()
        if len(columns) == SEGMENT_COLUMNS + 1:
            raise CorpusError(
                f"{place}: has a channel column, which is not read; write that channel to a file "
                "of its own and leave the column out"
            )
        try:
            utt_id, recording, (start, end) = columns[0], columns[1], map(float, columns[2:])
        except (IndexError, ValueError) as error:
            raise CorpusError(f"{place}: not utt_id, recording, start and end") from error
        if recording not in recordings:
            raise CorpusError(f"{place}: {recording} is not in {path / 'wav.scp'}")
        _, wav = recordings[recording]
        if end == END_OF_RECORDING:
            (end,) = durations([wav])
            if not end:
                raise CorpusError(f"{place}: cannot tell where {wav} ends; give the end in seconds")
        yield place, utt_id, wav, Segment(start, end)


def _read_table(path: Path) -> dict[str, tuple[str, str]]:
    """Return the place and the rest of the line for each first word, nothing without a file."""
    table: dict[str, tuple[str, str]] = {}
    if path.name != "wav.scp" and not path.exists():
        return table
    for place, line in read_lines(path):
        name, *rest = line.split(maxsplit=1)
        if name in table:
            raise CorpusError(f"{place}: repeated {name}, first at {table[name][0]}")
        table[name] = (place, "".join(rest).strip())
    return table


def _audio_file(place: str, source: str, root: Path) -> str:
    """Return the audio file that a line of wav.scp reads; commands are never run."""
    if (found := find_range(source)) and not (root / source).exists():
        raise CorpusError(
            f"{place}: a range ({found}) of a recording, which Kaldi does not read either; list "
            "the part in segments, in seconds"
        )
    if source.endswith("|"):
        try:
            program, *arguments = shlex.split(source[:-1])
        except ValueError:
            program, arguments = "", []
        options = DECODERS.get(Path(program).name, re.compile(""))
        files = [argument for argument in arguments if not options.fullmatch(argument)]
        if Path(program).name not in DECODERS or len(files) != 1:
            raise CorpusError(
                f"{place}: commands are not run ({source}); write its output to a file and give "
                "that file's path instead"
            )
        (source,) = files
    if not source:
        raise CorpusError(f"{place}: no path")
    source = expand_path(source)
    _check_single(place, source, root)
    return str((root / source).absolute())


def _check_single(place: str, source: str, root: Path) -> None:
    """Refuse several columns after the recording's name; a path with spaces is one."""
    columns = source.split()
    if len(columns) == 1 or (root / source).exists():
        return
    if all((root / column).exists() for column in columns):
        raise CorpusError(
            f"{place}: several files for one recording ({', '.join(columns)}); give each a line "
            "of its own"
        )
    if (root / columns[0]).exists() and columns[-1].isdecimal():
        raise CorpusError(
            f"{place}: has a channel column ({columns[-1]}), which is not read; write that "
            "channel to a file of its own and give its path"
        )
