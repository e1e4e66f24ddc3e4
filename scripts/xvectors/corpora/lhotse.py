"""Reader of lhotse's manifests of recordings or cuts.

The form of their lines is that of ``Recording.to_dict()`` and ``MonoCut.to_dict()`` of lhotse
1.33; lhotse itself is not needed.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from xvectors.audio.signal import Segment
from xvectors.config.paths import expand_path
from xvectors.corpora.entries import Entry, read_lines
from xvectors.errors import CorpusError
from xvectors.files.json_text import parse_json

# A cut covers its recording when no more than this is missing at either end.
TOLERANCE_SECONDS = 1e-3
# The run resamples anyway; other transforms change the voice.
HARMLESS_TRANSFORMS = {"Resample"}


def read_lhotse(path: Path, root: str = ".") -> Iterator[Entry]:
    """lhotse: a manifest of recordings or of cuts, ``.jsonl`` or ``.json``, gzipped or not."""
    for place, item in _items(path):
        try:
            if "sources" in item:
                yield _recording(place, item, Path(root))
            else:
                yield from _cut(place, item, Path(root))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise not_lhotse(place, error) from error


def _items(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the place and the content of each item: of each line, or of one JSON list."""
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        return
    if first[1].lstrip().startswith("["):
        content = "\n".join([first[1], *(line for _, line in lines)])
        items = enumerate(parse_item(str(path), content), start=1)
        yield from ((f"{path}: item {number}", item) for number, item in items)
        return
    for place, line in chain([first], lines):
        yield place, parse_item(place, line)


def parse_item(place: str, content: str) -> Any:
    """Parse the JSON of one or more items; raise CorpusError where it is none."""
    try:
        return parse_json(content)
    except ValueError as error:
        raise not_lhotse(place, error) from error


def not_lhotse(place: str, error: Exception) -> CorpusError:
    """Return the error for an item of another form."""
    return CorpusError(f"{place}: not a lhotse recording or cut ({type(error).__name__}: {error})")


def _recording(place: str, item: dict[str, Any], root: Path) -> Entry:
    wav = _audio_file(place, item, root)
    name = str(item["id"])
    return Entry(place, name, wav, "", name, float(item["duration"]))


def _cut(place: str, cut: dict[str, Any], root: Path) -> Iterator[Entry]:
    if "recording_id" in cut:
        raise CorpusError(
            f"{place}: a supervision; make cuts of recordings and supervisions: lhotse cut simple"
        )
    check_cut(place, cut)
    recording = cut["recording"]
    wav, length = _audio_file(place, recording, root), float(recording["duration"])
    yield from cut_utterances(place, cut, wav, length)


def check_cut(place: str, cut: dict[str, Any]) -> None:
    """Raise CorpusError for a cut that is not of one recording of one channel."""
    if cut["type"] != "MonoCut":
        raise CorpusError(f"{place}: {cut['id']} is a {cut['type']}; only MonoCuts can be read")
    recording = cut.get("recording")
    if recording is None:
        raise CorpusError(f"{place}: {cut['id']} has no recording")
    if len(recording["sources"][0]["channels"]) > 1:
        raise CorpusError(
            f"{place}: {cut['id']} is one of several channels of {recording['id']}; write that "
            "channel to a file of its own"
        )


def cut_utterances(place: str, cut: dict[str, Any], wav: str, length: float) -> Iterator[Entry]:
    """Yield a cut's utterances: one for each supervision, or else the cut itself.

    `length` is the seconds of its recording, whose path is `wav`. `place` is for messages.
    """
    first, last = cut["start"], cut["start"] + cut["duration"]
    whole = {"id": cut["id"], "start": 0.0, "duration": cut["duration"]}
    for part in cut.get("supervisions") or [whole]:
        # Times of supervisions count from the cut's start, and may reach beyond the cut.
        start = max(first, first + part["start"])
        end = min(last, first + part["start"] + part["duration"])
        covers = start <= TOLERANCE_SECONDS and end >= length - TOLERANCE_SECONDS
        utt_id, text = str(part["id"]), str(part.get("text") or "")
        speaker = str(part.get("speaker") or utt_id)
        seconds, segment = (length, None) if covers else (None, Segment(start, end))
        yield Entry(place, utt_id, wav, text, speaker, seconds, segment)


def _audio_file(place: str, recording: dict[str, Any], root: Path) -> str:
    source, *others = recording["sources"]
    if others:
        raise CorpusError(f"{place}: {recording['id']} has several files, one for each channel")
    if source["type"] != "file":
        raise CorpusError(f"{place}: {recording['id']} is a {source['type']}, not a file")
    transforms = {transform["name"] for transform in recording.get("transforms") or []}
    if transforms - HARMLESS_TRANSFORMS:
        names = ", ".join(sorted(transforms))
        raise CorpusError(f"{place}: {recording['id']} is transformed ({names}); save its audio")
    return str((root / expand_path(source["source"])).absolute())
