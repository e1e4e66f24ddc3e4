"""The numbers of a split's page, from its tables, markers and a sample of embeddings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np

from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.report.embedding_space import (
    Density,
    Projection,
    coherence,
    density,
    neighbour_map,
    principal_components,
    scored_pairs,
)
from xvectors.report.recordings import Recording, cut_clips, find_recordings
from xvectors.report.sampling import Totals, add_up, sample_rows
from xvectors.results.labels import Doubt, Scores, read_suspects, score_labels
from xvectors.results.tables import (
    EmbeddedRow,
    ExcludedRow,
    FailureRow,
    load_embeddings,
    read_embedded,
    read_excluded,
    read_failures,
)
from xvectors.results.vectors import Floats, Numbers, Vectors, normalize_lengths
from xvectors.sharding.limits import Limits
from xvectors.sharding.markers import DoneMarker, read_last_work, read_marker
from xvectors.tasks.outputs import makes_embeddings, runner_class
from xvectors.verification.score_summary import ScoreSummary, summarize_scores

# More points would enlarge the page without making the charts clearer.
MAX_POINTS = 5000
# With more utterances than this, the map has the density of so many random ones.
MANY_UTTERANCES = 20_000
# For same-speaker pairs and for different-speaker pairs.
MAX_PAIRS = 50_000
N_DURATION_BINS = 40
# Rows of a table of suspect, failed or excluded utterances.
MAX_ROWS_SHOWN = 100
MAX_DOUBTS = 20
MIN_FOR_NEIGHBOUR_MAP = 5
Row = TypeVar("Row")


class ShardSpeed(NamedTuple):
    """Speed of a shard's job, in utterances and in seconds of audio per second."""

    shard: str
    n_written: int
    utterances_per_second: float
    times_real_time: float
    device: str
    precision: str


class Histogram(NamedTuple):
    """Counts, shape (bins,), between `edges`, shape (bins + 1,)."""

    edges: Floats
    counts: Numbers


class LooseSpeaker(NamedTuple):
    """A speaker's mean cosine over pairs of utterances, and the utterance that fits least."""

    speaker_id: str
    n_utterances: int
    coherence: float
    utt_id: str
    own: float


@dataclass(frozen=True)
class SpeakerView:
    """Speakers of a sample of n utterances, as their embeddings show them.

    Attributes:
        rows: The utterances.
        names: Names of their speakers.
        speakers: Each utterance's place in `names`, shape (n,).
        dim: Length of an embedding.
        projection: Principal components of the utterances.
        drawn: Positions in `rows` of the utterances that charts show.
        neighbours: t-SNE map of the drawn utterances. None unless requested.
        similarity: Cosines of pairs. None if there are no pairs.
        fit: How well each utterance fits the speakers.
        coherence: Mean cosine of each speaker's pairs, shape (speakers,).

    """

    rows: list[EmbeddedRow]
    names: list[str]
    speakers: Numbers
    dim: int
    projection: Projection
    drawn: Numbers
    neighbours: Floats | None
    similarity: ScoreSummary | None
    fit: Scores
    coherence: Floats

    @property
    def n_nearer_other(self) -> int:
        """Number of utterances that are nearer to another speaker than to their own."""
        return int((self.fit.margin < 0).sum())

    @property
    def n_coherent(self) -> int:
        """Number of speakers with at least two utterances, which have a coherence."""
        return int((~np.isnan(self.coherence)).sum())

    def doubts(self, n: int) -> list[Doubt]:
        """Return the `n` utterances with the smallest margin."""
        fit, margin = self.fit, self.fit.margin
        known = np.flatnonzero(~np.isnan(margin))
        return [
            Doubt(
                self.rows[i].utt_id,
                self.rows[i].speaker_id,
                self.names[fit.nearest_speaker[i]],
                *(float(numbers[i]) for numbers in (fit.own, fit.nearest, margin)),
            )
            for i in known[np.argsort(margin[known], kind="stable")][:n]
        ]

    def loose_speakers(self, n: int) -> list[LooseSpeaker]:
        """Return the `n` speakers whose utterances are least similar to each other."""
        known = np.flatnonzero(~np.isnan(self.coherence))
        found = []
        for speaker in known[np.argsort(self.coherence[known], kind="stable")][:n]:
            own = np.flatnonzero(self.speakers == speaker)
            least = own[self.fit.own[own].argmin()]
            found.append(
                LooseSpeaker(
                    self.names[speaker],
                    len(own),
                    float(self.coherence[speaker]),
                    self.rows[least].utt_id,
                    float(self.fit.own[least]),
                )
            )
        return found


@dataclass(frozen=True)
class SplitReport:
    """Contents of a split's page.

    `view` is None unless its files are speaker embeddings, `n_suspects` unless its labels are
    checked. `suspects` and `doubts` have the smallest margins, of all and of the sample.
    `recordings` says where the audio of both is, and `clips` holds the beginning of each as MP3.
    `density` is that of many utterances on the map, None unless there are more than it shows.
    """

    tag: str
    split: str
    totals: Totals
    durations: Histogram
    failures: list[FailureRow]
    n_failures: int
    suspects: list[Doubt]
    n_suspects: int | None
    doubts: list[Doubt]
    recordings: dict[str, Recording]
    clips: dict[str, bytes]
    density: Density | None
    excluded: list[ExcludedRow]
    n_excluded: int
    n_silent: int
    n_misstated: int
    n_shards: int
    speeds: list[ShardSpeed]
    view: SpeakerView | None

    @property
    def median_times_real_time(self) -> float | None:
        """Median over the shards that embedded something."""
        return median_speed(self.speeds)


def gather(settings: Settings, split: str, shards: list[str]) -> SplitReport:
    """Return the numbers of a split, which has been collected.

    Raises:
        ShardError: A table, a marker or an embedding is missing or damaged.
        ManifestError: The split's manifest cannot be read.

    """
    layout = Layout.of(settings)
    totals = add_up(read_embedded(layout.table(split)))
    view = None
    if makes_embeddings(runner_class(settings)) and totals.seconds:
        embedded = read_embedded(layout.table(split))
        rows = sample_rows(embedded, totals.n_utterances, settings.xvector.report_utterances)
        embeddings = np.stack(list(load_embeddings(rows)))
        view = view_speakers(rows, embeddings, settings.xvector.report_tsne)
    markers = [read_marker(layout.marker(split, shard)) for shard in shards]
    failures, n_failures = first_rows(read_failures(layout.failures(split)))
    limited = bool(Limits.of(settings))
    excluded, n_excluded = first_rows(
        read_excluded(layout.excluded(split)) if limited else iter(())
    )
    suspects = sorted(
        read_suspects(layout.labels(split)) if settings.xvector.labels else (),
        key=lambda suspect: suspect.margin,
    )
    worst = suspects[:MAX_ROWS_SHOWN]
    doubts = view.doubts(MAX_DOUBTS) if view else []
    margins = {one.utt_id: one.margin for one in doubts}
    margins |= {one.utt_id: one.margin for one in worst}
    recordings = find_recordings(
        Path(settings.xvector.manifest_paths[split]), margins, layout.page(split).parent.absolute()
    )
    wanted = sorted(margins, key=margins.__getitem__) if settings.xvector.report_audio else []
    return SplitReport(
        tag=settings.xvector.spk_embed_tag,
        split=split,
        totals=totals,
        durations=Histogram(*np.histogram(totals.seconds, N_DURATION_BINS)[::-1]),
        failures=failures,
        n_failures=n_failures,
        suspects=worst,
        doubts=doubts,
        recordings=recordings,
        clips=cut_clips(recordings, wanted),
        density=(
            _density(layout.table(split), totals, view.projection)
            if view and totals.n_utterances.total() > MANY_UTTERANCES
            else None
        ),
        n_suspects=len(suspects) if settings.xvector.labels else None,
        excluded=excluded,
        n_excluded=n_excluded,
        n_silent=sum(marker.n_silent for marker in markers),
        n_misstated=sum(marker.n_misstated for marker in markers),
        n_shards=len(shards),
        speeds=speeds(
            (shard, read_last_work(layout.last_work(split, shard), marker))
            for shard, marker in zip(shards, markers, strict=True)
        ),
        view=view,
    )


def _density(table: Path, totals: Totals, projection: Projection) -> Density:
    """Return the density of `MANY_UTTERANCES` random utterances of a table that has more."""
    n = totals.n_utterances.total()
    is_drawn = np.zeros(n, dtype=bool)
    is_drawn[np.random.default_rng(0).choice(n, MANY_UTTERANCES, replace=False)] = True
    embeddings = load_embeddings(compress(read_embedded(table), is_drawn))
    return density(projection.project(normalize_lengths(np.stack(list(embeddings)))))


def first_rows(table: Iterator[Row], limit: int = MAX_ROWS_SHOWN) -> tuple[list[Row], int]:
    """Return the first rows of a table, and how many it has."""
    rows = list(islice(table, limit))
    return rows, len(rows) + sum(1 for _ in table)


def view_speakers(rows: list[EmbeddedRow], embeddings: Vectors, with_tsne: bool) -> SpeakerView:
    """Compare embeddings, shape (n, dim), with the speakers of their utterances.

    There is at least one, and those of a speaker are adjacent. `with_tsne` adds a t-SNE map if
    there are enough.
    """
    vectors = normalize_lengths(embeddings)
    names = list(dict.fromkeys(row.speaker_id for row in rows))
    number = {name: index for index, name in enumerate(names)}
    speakers = np.array([number[row.speaker_id] for row in rows])
    projection = principal_components(vectors)
    last = len(rows) - 1
    drawn = np.linspace(0, last, min(len(rows), MAX_POINTS)).round().astype(np.int64)
    is_mapped = with_tsne and len(rows) >= MIN_FOR_NEIGHBOUR_MAP and any(projection.shares)
    pairs = scored_pairs(vectors, speakers, MAX_PAIRS)
    return SpeakerView(
        rows=rows,
        names=names,
        speakers=speakers,
        dim=vectors.shape[1],
        projection=projection,
        drawn=drawn,
        neighbours=neighbour_map(vectors[drawn]) if is_mapped else None,
        similarity=summarize_scores(pairs) if len(pairs.scores) else None,
        fit=score_labels(vectors, speakers, len(names), n_rounds=1),
        coherence=coherence(vectors, speakers),
    )


def speeds(accounts: Iterable[tuple[str, DoneMarker]]) -> list[ShardSpeed]:
    """Return the speeds of the shards whose accounts, see `read_last_work`, tell of embedding."""
    return [
        ShardSpeed(
            shard,
            marker.n_written,
            marker.n_written / marker.wall_seconds,
            marker.audio_seconds / marker.wall_seconds,
            marker.device,
            marker.precision,
        )
        for shard, marker in accounts
        if marker.n_written and marker.wall_seconds > 0
    ]


def median_speed(found: list[ShardSpeed]) -> float | None:
    """Return the median times real time, None without any speed."""
    return median(speed.times_real_time for speed in found) if found else None
