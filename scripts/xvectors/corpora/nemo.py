"""Reader of NeMo's manifests: JSON lines with the keys of its speech and speaker collections."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xvectors.audio.opening import durations
from xvectors.audio.signal import Segment
from xvectors.config.paths import expand_path
from xvectors.corpora.entries import Entry, LeftOut, read_lines
from xvectors.errors import CorpusError
from xvectors.files.json_text import parse_json

# A segment from 0 covers its file when it ends no more than this before the file does.
TOLERANCE_SECONDS = 1e-3


def read_nemo(path: Path, root: str | None = None) -> Iterator[Entry | LeftOut]:
    """NeMo: a manifest of JSON lines with ``audio_filepath`` and ``duration``."""
    # NeMo starts relative paths at the manifest's folder.
    folder = path.parent if root is None else Path(root)
    found = [_line(place, line, folder) for place, line in read_lines(path)]
    # Its speaker recognition states an offset of 0 for whole files, too.
    begins = [one for one in found if one.segment is not None and one.segment.start == 0]
    lengths = durations([one.wav_path for one in begins])
    whole = {
        one.place
        for one, length in zip(begins, lengths, strict=True)
        if one.segment is not None and 0 < length <= one.segment.end + TOLERANCE_SECONDS
    }
    for entry in found:
        if entry.segment is not None and entry.segment.start < 0:
            yield LeftOut(entry.place, "a segment that starts before 0")
        elif entry.place in whole:
            yield entry._replace(segment=None)
        else:
            yield entry


def _line(place: str, line: str, folder: Path) -> Entry:
    """Return the utterance in a line.

    Raises:
        CorpusError: The line is not one of NeMo's.

    """
    try:
        item = parse_json(line)
        source, text = str(item["audio_filepath"]), str(item.get("text") or "")
        segment, seconds = _time(item)
        utt_id = str(item.get("utt_id") or item.get("id") or _name(source, segment))
        # In its speaker recognition, the speaker is the label.
        speaker = str(item.get("speaker") or item.get("label") or utt_id)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise CorpusError(
            f"{place}: not a line of a NeMo manifest ({type(error).__name__}: {error})"
        ) from error
    wav = str((folder / expand_path(source)).absolute())
    return Entry(place, utt_id, wav, text, speaker, seconds, segment)


def _time(item: dict[str, Any]) -> tuple[Segment | None, float | None]:
    """Return an utterance's segment, or else its seconds if they are stated."""
    duration = item.get("duration")
    if item.get("offset") is None:
        return None, None if duration is None else float(duration)
    if duration is None:
        raise ValueError("an offset without a duration")
    start = float(item["offset"])
    return Segment(start, start + float(duration)), None


def _name(source: str, segment: Segment | None) -> str:
    """Return an utt_id made of the path, and of the time where there are several in a file."""
    name = str(Path(source).with_suffix("")).strip("/").replace("../", "")
    return name if segment is None or segment.start == 0 else f"{name}-{segment.start:09.3f}"
