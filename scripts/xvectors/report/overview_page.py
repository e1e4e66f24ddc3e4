"""The overview: one page that lists all splits and trial lists, with links to their pages."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import time
from typing import Any, NamedTuple

from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.errors import ShardError
from xvectors.files.atomic import parse_json, write_atomically
from xvectors.files.run_lock import current_command
from xvectors.report.page import render
from xvectors.report.sampling import add_up
from xvectors.report.split_report import speeds
from xvectors.results.tables import read_excluded, read_failures, read_index
from xvectors.sharding.limits import Limits
from xvectors.sharding.markers import DoneMarker, read_last_work, read_marker

SECONDS_PER_HOUR = 3600


class SplitLine(NamedTuple):
    """A split's line. Counts are None where the settings do not ask for them.

    `times_real_time` is the median speed of the shards' last jobs that embedded something.
    """

    split: str
    page: str
    n_utterances: int
    n_speakers: int
    hours: float
    n_failed: int
    n_excluded: int | None
    n_suspects: int | None
    n_clusters: int | None
    clusters: str
    times_real_time: float | None


class Origin(NamedTuple):
    """The command whose run drew the page, an empty text if it is not known, and the time."""

    command: str
    drawn: str


class TrialsLine(NamedTuple):
    """A trial list's line: `results` are the contents of its ``.scores.json``."""

    name: str
    page: str
    results: dict[str, Any]


class Encoder(NamedTuple):
    """The encoder, and how and when it was used; devices and precisions are those of all jobs."""

    toolkit: str
    source: str | None
    revision: str | None
    fingerprint: str | None
    devices: str
    precisions: str
    finished: str


def draw_overview(settings: Settings, shards: Mapping[str, Sequence[str]]) -> None:
    """Write the overview of all splits and trial lists of a configuration.

    Args:
        settings: The settings. All of its splits must have been collected.
        shards: The names of each split's shards.

    Raises:
        ShardError: A table or a marker is missing or damaged.

    """
    layout, xvector = Layout.of(settings), settings.xvector
    markers = [layout.marker(split, name) for split in shards for name in shards[split]]
    read = {path: _last_work(layout, path) for path in markers}
    values = {
        "tag": xvector.spk_embed_tag,
        "encoder": _encoder(settings, read),
        "origin": Origin(current_command(), _minute(time())),
        "splits": [_split_line(settings, split, read) for split in xvector.splits],
        "trials": [
            TrialsLine(name, layout.trials_page(name).name, _read(layout.error_rates(name)))
            for name in xvector.trials
        ],
    }
    page = render("overview.html.j2", values, {}, {})
    write_atomically(layout.overview, page.encode())


def _encoder(settings: Settings, markers: dict[Path, DoneMarker]) -> Encoder:
    layout = Layout.of(settings)
    about = _read(layout.encoder)
    files = (_last_work_file(layout, path) for path in markers)
    newest = max(path.stat().st_mtime for path in files)
    return Encoder(
        settings.xvector.toolkit,
        about["source"],
        about["revision"],
        about["fingerprint"],
        _named(marker.device for marker in markers.values()),
        _named(marker.precision for marker in markers.values()),
        _minute(newest),
    )


def _last_work(layout: Layout, marker: Path) -> DoneMarker:
    """Return the account of the last job that embedded something of a marker's shard."""
    return read_last_work(_last_work_file(layout, marker), read_marker(marker))


def _last_work_file(layout: Layout, marker: Path) -> Path:
    """Return the file with that account."""
    # The folder of a split's markers has its name.
    path = layout.last_work(marker.parent.name, marker.stem)
    return path if path.exists() else marker


def _minute(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _named(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))


def _split_line(settings: Settings, split: str, markers: dict[Path, DoneMarker]) -> SplitLine:
    layout, xvector = Layout.of(settings), settings.xvector
    own = [(path.stem, marker) for path, marker in markers.items() if path.parent.name == split]
    totals = add_up(read_index(layout.index(split)))
    excluded = read_excluded(layout.excluded(split)) if Limits.of(settings) else None
    return SplitLine(
        split=split,
        page=layout.page(split).name,
        n_utterances=totals.n_utterances.total(),
        n_speakers=len(totals.n_utterances),
        hours=sum(totals.seconds) / SECONDS_PER_HOUR,
        n_failed=sum(1 for _ in read_failures(layout.failures(split))),
        n_excluded=None if excluded is None else sum(1 for _ in excluded),
        n_suspects=_read(layout.labels_summary(split))["suspect"] if xvector.labels else None,
        n_clusters=(
            _read(layout.clusters_summary(split))["n_clusters"] if xvector.clusters else None
        ),
        clusters=layout.clusters(split).name,
        times_real_time=_speed(own),
    )


def _speed(markers: list[tuple[str, DoneMarker]]) -> float | None:
    found = [speed.times_real_time for speed in speeds(markers)]
    return median(found) if found else None


def _read(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes())
    except (OSError, json.JSONDecodeError) as error:
        raise ShardError(
            f"{path}: missing or damaged. Delete it and rerun the same command"
        ) from error
