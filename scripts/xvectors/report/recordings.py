"""The audio of utterances, for players on a page."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from xvectors.audio.containers import find_member
from xvectors.audio.signal import Segment
from xvectors.manifest.lines import numbered_lines, parse_line
from xvectors.manifest.reading import locate_audio


class Recording(NamedTuple):
    """The audio of an utterance.

    `path` is the manifest's. `links` are where a browser can find it, the first one that works: as
    seen from the page, so that both can move together, and on this machine. There are none for
    audio inside a container.
    """

    path: str
    links: tuple[str, ...]


def find_recordings(manifest: Path, utt_ids: Collection[str], folder: Path) -> dict[str, Recording]:
    """Return the recordings of some of a manifest's utterances.

    Args:
        manifest: The manifest. Only the lines of these utterances are parsed.
        utt_ids: The utterances. Those that the manifest lacks are left out.
        folder: The folder of the page.

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
            found[utterance.utt_id] = Recording(utterance.wav_path, links)
    return found


def _links(path: str, segment: Segment | None, folder: Path) -> tuple[str, ...]:
    """Return a relative and an absolute link to a file, or to a segment of it."""
    # https://www.w3.org/TR/media-frags/#naming-time
    part = f"#t={segment.start:.3f},{segment.end:.3f}" if segment else ""
    # Without following links, as a browser does not either.
    relative = os.path.relpath(path, folder)
    return f"{quote(relative)}{part}", f"{Path(os.path.abspath(path)).as_uri()}{part}"  # noqa: PTH100
