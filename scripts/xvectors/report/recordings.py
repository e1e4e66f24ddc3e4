"""The audio of utterances, for players on a page."""

import logging
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from xvectors.audio.clips import encode_clip
from xvectors.audio.containers import find_member
from xvectors.audio.signal import Segment
from xvectors.errors import UtteranceError
from xvectors.manifest.lines import numbered_lines, parse_line
from xvectors.manifest.reading import locate_audio

logger = logging.getLogger(__name__)

# Of all clips of a page.
MAX_CLIP_BYTES = 5_000_000


class Recording(NamedTuple):
    """The audio of an utterance.

    `path` is the manifest's, `file` where it is found here, and `segment` the part that is wanted.
    `links` are where a browser can find it, the first one that works: as seen from the page, so
    that both can move together, and on this machine. There are none for audio inside a container.
    """

    path: str
    file: str
    segment: Segment | None
    links: tuple[str, ...]


def find_recordings(manifest: Path, utt_ids: Collection[str], folder: Path) -> dict[str, Recording]:
    """Return the recordings of some of a manifest's utterances, for a page in `folder`.

    Utterances that the manifest lacks are left out. Only the lines of the others are parsed.

    Raises:
        ManifestError: The manifest cannot be read.

    """
    wanted = {utt_id.encode() for utt_id in utt_ids}
    found = {}
    for _, _, line in numbered_lines(manifest):
        if wanted and line.partition(b"\t")[0] in wanted:
            utterance = parse_line(line)
            path = locate_audio(manifest.absolute(), utterance.wav_path)
            links = () if find_member(path) else _links(path, utterance.segment, folder)
            found[utterance.utt_id] = Recording(utterance.wav_path, path, utterance.segment, links)
    return found


def cut_clips(recordings: Mapping[str, Recording], utt_ids: Iterable[str]) -> dict[str, bytes]:
    """Return MP3 clips of utterances, until they have `MAX_CLIP_BYTES` together.

    The most important utterances come first. Those without a recording are left out, and so is
    audio that has gone or changed since it was embedded, with a line in the log.
    """
    clips: dict[str, bytes] = {}
    room = MAX_CLIP_BYTES
    for utt_id in dict.fromkeys(utt_ids):
        if utt_id not in recordings:
            continue
        try:
            clip = encode_clip(recordings[utt_id].file, recordings[utt_id].segment)
        except (UtteranceError, OSError) as error:
            logger.info("%s: no clip for the page: %s", utt_id, error)
            continue
        room -= len(clip)
        if room < 0:
            break
        clips[utt_id] = clip
    return clips


def _links(path: str, segment: Segment | None, folder: Path) -> tuple[str, ...]:
    """Return a relative and an absolute link to a file, or to a segment of it."""
    # https://www.w3.org/TR/media-frags/#naming-time
    part = f"#t={segment.start:.3f},{segment.end:.3f}" if segment else ""
    # Without following links, as a browser does not either.
    relative = os.path.relpath(path, folder)
    return f"{quote(relative)}{part}", f"{Path(os.path.abspath(path)).as_uri()}{part}"  # noqa: PTH100
