"""The overview: one page that lists all splits and trial lists, with links to their pages."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any, NamedTuple

from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.errors import missing_or_damaged
from xvectors.files.atomic import write_atomically
from xvectors.files.json_text import parse_json
from xvectors.files.run_lock import current_command
from xvectors.report.page import render
from xvectors.report.sampling import add_up
from xvectors.report.split_report import median_speed, speeds
from xvectors.results.tables import read_embedded, read_excluded, read_failures
from xvectors.sharding.limits import Limits
from xvectors.sharding.markers import DoneMarker, read_last_work, read_marker
from xvectors.verification.score_summary import SCORES

SECONDS_PER_HOUR = 3600
# A shard's name, and the account of its last job that embedded something.
Account = tuple[str, DoneMarker]


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

    All splits have been collected. `shards` are the names of each split's shards.

    Raises:
        ShardError: A table or a marker is missing or damaged.

    """
    layout, xvector = Layout.of(settings), settings.xvector
    accounts = {
        split: [(name, _read_account(layout, split, name)) for name in names]
        for split, names in shards.items()
    }
    values = {
        "tag": xvector.spk_embed_tag,
        "encoder": _encoder(settings, accounts),
        "origin": Origin(current_command(), _minute(time())),
        "splits": [_split_line(settings, split, accounts[split]) for split in xvector.splits],
        "scores": SCORES,
        "trials": [
            TrialsLine(
                name, layout.trials_page(name).name, _read(layout.error_rates(name), "score")
            )
            for name in xvector.trials
        ],
    }
    page = render("overview.html.j2", values, {}, {})
    write_atomically(layout.overview, page.encode())


def _encoder(settings: Settings, accounts: Mapping[str, list[Account]]) -> Encoder:
    layout = Layout.of(settings)
    about = _read(layout.encoder_description, "source", "revision", "fingerprint")
    found = [account for own in accounts.values() for _, account in own]
    files = [
        _account_file(layout, split, name) for split, own in accounts.items() for name, _ in own
    ]
    return Encoder(
        settings.xvector.toolkit,
        about["source"],
        about["revision"],
        about["fingerprint"],
        _named(account.device for account in found),
        _named(account.precision for account in found),
        _minute(max(path.stat().st_mtime for path in files)),
    )


def _read_account(layout: Layout, split: str, shard: str) -> DoneMarker:
    marker = read_marker(layout.marker(split, shard))
    return read_last_work(layout.last_work(split, shard), marker)


def _account_file(layout: Layout, split: str, shard: str) -> Path:
    path = layout.last_work(split, shard)
    return path if path.exists() else layout.marker(split, shard)


def _minute(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _named(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))


def _split_line(settings: Settings, split: str, accounts: list[Account]) -> SplitLine:
    layout, xvector = Layout.of(settings), settings.xvector
    totals = add_up(read_embedded(layout.table(split)))
    excluded = read_excluded(layout.excluded(split)) if Limits.of(settings) else None
    return SplitLine(
        split=split,
        page=layout.page(split).name,
        n_utterances=totals.n_utterances.total(),
        n_speakers=len(totals.n_utterances),
        hours=sum(totals.seconds) / SECONDS_PER_HOUR,
        n_failed=sum(1 for _ in read_failures(layout.failures(split))),
        n_excluded=None if excluded is None else sum(1 for _ in excluded),
        n_suspects=_number(layout.labels_summary(split), "suspect") if xvector.labels else None,
        n_clusters=_number(layout.clusters_summary(split), "n_clusters")
        if xvector.clusters
        else None,
        clusters=layout.clusters(split).name,
        times_real_time=median_speed(speeds(accounts)),
    )


def _number(summary: Path, entry: str) -> int:
    return int(_read(summary, entry)[entry])


def _read(path: Path, *entries: str) -> dict[str, Any]:
    """Return the content of a JSON file that must have some entries."""
    try:
        content = parse_json(path.read_bytes())
        return {**content, **{name: content[name] for name in entries}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise missing_or_damaged(path) from error
