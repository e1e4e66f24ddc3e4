"""Speaker labels that may be wrong, and repeated utterances, found by the embeddings.

An utterance with a wrong label is closer to another speaker than to its own. Its margin is its
cosine to its own speaker's mean less its cosine to the nearest other speaker's. Wrong labels spoil
the means that they are compared with, so there are two rounds: the second one takes the means
without the utterances that the first one found closer to another speaker.

How low a margin must be follows from the margins of the split. Most labels are right, so the
upper half of the margins, which wrong labels hardly reach, tells how the margins of right labels
spread (an empirical null, Efron 2004, doi:10.1198/016214504000000089). The threshold is the
largest margin at which no more than a given share of the utterances below it are expected to have
a right label (Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x). An utterance
that is closer to its own speaker than to any other is never suspect.
"""

import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xvectors.errors import ShardError, missing_or_damaged
from xvectors.files.atomic import replacing, write_atomically
from xvectors.files.json_text import parse_json
from xvectors.manifest.lines import numbered_lines
from xvectors.manifest.reading import locate_audio
from xvectors.results.duplicates import OFFSETS, find_duplicates, hash_cells
from xvectors.results.tables import read_embedded, with_embeddings, write_table
from xvectors.results.vectors import (
    Floats,
    Numbers,
    Vectors,
    blocks,
    nearest_means,
    normalize_lengths,
    sum_groups,
)

COLUMNS = (
    "utt_id",
    "speaker_id",
    "own",
    "nearest_speaker",
    "nearest",
    "margin",
    "duplicate_of",
    "verdict",
)
N_ROUNDS = 2
# A normal distribution's median absolute deviation in standard deviations.
MAD_OF_NORMAL = NormalDist().inv_cdf(0.75)


class Labelled(NamedTuple):
    """The utterances of a split in the order of its table.

    `speakers` are the names, sorted; `labels`, int64 of shape (n,), are each utterance's place in
    them; `vectors`, float32 of shape (n, dim), have length 1 and lie on disk; `duplicate_of`,
    int64 of shape (n,), is the first utterance that has the same embedding, -1 for none.
    """

    utt_ids: list[str]
    speakers: list[str]
    labels: Numbers
    vectors: Vectors
    duplicate_of: Numbers


class Scores(NamedTuple):
    """Cosines of each utterance, shape (n,).

    `own` is to the mean of its speaker's other utterances, NaN where there are none; `nearest` is
    to the nearest other speaker's mean, NaN where there is none, and `nearest_speaker` its number.
    """

    own: Floats
    nearest: Floats
    nearest_speaker: Numbers

    @property
    def margin(self) -> Floats:
        """`own` less `nearest`, shape (n,)."""
        return self.own - self.nearest


@dataclass(frozen=True)
class Threshold:
    """The margin below which a label is suspect.

    `center` and `spread` are the mean and the standard deviation of the margins of right labels;
    `margin` is None where no margin is low enough; `n_wrong` estimates how many labels are wrong.
    """

    margin: float | None
    center: float
    spread: float
    n_wrong: int


class Doubt(NamedTuple):
    """An utterance whose label is in doubt: its speaker, the nearest other one, both cosines.

    `margin` is the first cosine less the second.
    """

    utt_id: str
    speaker_id: str
    nearest_speaker: str
    own: float
    nearest: float
    margin: float


def check_labels(
    embedded: Path,
    manifest: Path,
    table: Path,
    summary: Path,
    *,
    false_discovery_rate: float,
    metadata: Mapping[str, str],
) -> None:
    """Write the table of all labels with a verdict on each, and the numbers behind it.

    Args:
        embedded: The table of the split's embedded utterances.
        manifest: The split's manifest.
        table: ``<split>.labels.tsv``, see `COLUMNS`.
        summary: ``<split>.labels.json``, the threshold, counts and an estimate of wrong labels.
        false_discovery_rate: Share of suspects, 0 to 1, whose label may be right.
        metadata: Further entries of the summary.

    """
    with TemporaryFile(dir=table.parent) as store:
        labelled = read_labelled(embedded, store)
        scores = score_labels(labelled.vectors, labelled.labels, len(labelled.speakers))
        threshold = choose_threshold(scores.margin, false_discovery_rate)
        verdicts = judge(scores, threshold)
        write_table(table, COLUMNS, _rows(labelled, scores, verdicts))
    counts = {verdict: verdicts.count(verdict) for verdict in ("ok", "suspect", "single")}
    content: dict[str, Any] = {
        "manifest": str(manifest.absolute()),
        "n_utterances": len(labelled.utt_ids),
        "n_speakers": len(labelled.speakers),
        **counts,
        "duplicates": int((labelled.duplicate_of >= 0).sum()),
        "false_discovery_rate": false_discovery_rate,
        "threshold": asdict(threshold),
        **metadata,
    }
    write_atomically(summary, json.dumps(content, indent=2).encode() + b"\n")


def write_clean_manifest(manifest: Path, table: Path, output: Path) -> None:
    """Write the lines of a manifest whose utterances are embedded and not suspect.

    `table` has the labels. Relative paths become absolute, so that the new manifest works from its
    own folder.
    """
    clean = (fields[0] for fields in _read_table(table) if fields[-1] != "suspect")
    wanted = next(clean, None)
    with replacing(output) as temporary, temporary.open("w", encoding="utf-8") as file:
        for _, _, line in numbered_lines(manifest):
            utt_id, wav_path, *others = line.decode().split("\t")
            if utt_id == wanted:
                path = locate_audio(manifest.absolute(), wav_path)
                file.write("\t".join([utt_id, path, *others]) + "\n")
                wanted = next(clean, None)
    if wanted is not None:
        raise ShardError(
            f"{manifest}: has changed since {table} was written. Rerun the same command"
        )


def is_clean_of(manifest: str, summary: Path) -> bool:
    """Tell whether a clean manifest was made from the manifest at this path."""
    try:
        made_of = parse_json(summary.read_bytes())["manifest"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(made_of == str(Path(manifest).absolute()))


def read_suspects(table: Path) -> Iterator[Doubt]:
    """Yield a table's utterances whose labels are suspect, in its order.

    Raises:
        ShardError: The table is missing or damaged.

    """
    try:
        for fields in _read_table(table):
            utt_id, speaker_id, own, nearest_speaker, nearest, margin, _, verdict = fields
            if verdict == "suspect":
                numbers = float(own), float(nearest), float(margin)
                yield Doubt(utt_id, speaker_id, nearest_speaker, *numbers)
    except (OSError, ValueError) as error:
        raise missing_or_damaged(table) from error


def _read_table(table: Path) -> Iterator[list[str]]:
    with table.open(encoding="utf-8", newline="\n") as file:
        lines = (line.rstrip("\n").split("\t") for line in file)
        if next(lines, None) != list(COLUMNS):
            raise ValueError(f"{table}: has no header")
        yield from lines


def read_labelled(embedded: Path, store: Any) -> Labelled:
    """Read a split's embeddings once, and keep them normalized in an open binary file."""
    utt_ids, names, lengths = [], [], array("d")
    hashes = [array("q") for _ in OFFSETS]
    dim = 0
    for row, embedding in with_embeddings(read_embedded(embedded)):
        utt_ids.append(row.utt_id)
        names.append(row.speaker_id)
        dim = len(embedding)
        vector = normalize_lengths(embedding[None])[0]
        lengths.append(float(np.linalg.norm(embedding)))
        for of_grid, cell in zip(hashes, hash_cells(vector), strict=True):
            of_grid.append(cell)
        store.write(vector.tobytes())
    store.flush()
    speakers, labels = np.unique(np.array(names, dtype=object), return_inverse=True)
    shape = (len(utt_ids), dim)
    vectors = np.memmap(store, np.float32, "r", shape=shape) if dim else np.zeros(shape, np.float32)
    cells = [np.asarray(of_grid, dtype=np.int64) for of_grid in hashes]
    duplicate_of = find_duplicates(vectors, np.asarray(lengths), cells)
    return Labelled(utt_ids, list(speakers), labels.astype(np.int64), vectors, duplicate_of)


def score_labels(
    vectors: Vectors, labels: Numbers, n_speakers: int, n_rounds: int = N_ROUNDS
) -> Scores:
    """Return the cosines of utterances to their own and to the nearest other speaker.

    Args:
        vectors: Of length 1, shape (n, dim).
        labels: Numbers of their speakers, from 0, shape (n,).
        n_speakers: The number of speakers.
        n_rounds: Number of rounds. Each takes means without the suspects of the round before.

    """
    counted = np.ones(len(labels), dtype=bool)
    scores = _score(vectors, labels, counted, n_speakers)
    for _ in range(n_rounds - 1):
        counted = _trusted(scores.margin, labels)
        scores = _score(vectors, labels, counted, n_speakers)
    return scores


def choose_threshold(margins: Floats, false_discovery_rate: float) -> Threshold:
    """Return the threshold for margins. NaN are ignored.

    The number of wrong labels is that of the margins below 0, less those that right labels
    explain (Storey 2002, doi:10.1111/1467-9868.00346).
    """
    known = np.sort(margins[~np.isnan(margins)])
    if len(known) == 0:
        return Threshold(None, 0.0, 0.0, 0)
    center = float(np.median(known))
    spread = float(np.median(known[known >= center] - center)) / MAD_OF_NORMAL
    null = NormalDist(center, max(spread, 1e-9))
    negative = known[known < 0]
    chances = np.array([null.cdf(margin) for margin in negative])
    ranks = np.arange(1, len(negative) + 1)
    passed = np.flatnonzero(chances <= false_discovery_rate * ranks / len(known))
    margin = float(negative[passed[-1]]) if len(passed) else None
    below = null.cdf(0.0)
    n_wrong = max(0, round((len(negative) - len(known) * below) / max(1 - below, 1e-9)))
    return Threshold(margin, center, spread, n_wrong)


def judge(scores: Scores, threshold: Threshold) -> list[str]:
    """Return a verdict on each label: ok, suspect, or single for a speaker's only utterance."""
    highest = -np.inf if threshold.margin is None else threshold.margin
    with np.errstate(invalid="ignore"):
        suspect = scores.margin <= highest
    verdicts = np.where(np.isnan(scores.own), "single", np.where(suspect, "suspect", "ok"))
    return [str(verdict) for verdict in verdicts]


def _score(
    vectors: Vectors, labels: Numbers, counted: NDArray[np.bool_], n_speakers: int
) -> Scores:
    """Return the scores against means of the utterances that are counted."""
    sums, all_sums = (
        sum_groups(vectors, labels, n_speakers, chosen)
        for chosen in (counted, np.ones_like(counted))
    )
    n_counted = np.bincount(labels, counted, minlength=n_speakers)
    n_all = np.bincount(labels, minlength=n_speakers)
    means = _means(sums)
    n = len(labels)
    own, nearest = np.full(n, np.nan), np.full(n, np.nan)
    nearest_speaker = np.zeros(n, dtype=np.int64)
    if n_speakers > 1:
        nearest_speaker, nearest = nearest_means(vectors, means, labels)
    for block in blocks(n):
        rows, label = np.asarray(vectors[block], dtype=np.float64), labels[block]
        weight = counted[block].astype(np.float64)
        others = sums[label] - rows * weight[:, None]
        # If none of the others is counted, use all of them.
        none = n_counted[label] - weight <= 0
        others[none] = (all_sums[label] - rows)[none]
        cosines = (rows * _means(others)).sum(axis=1)
        own[block] = np.where(n_all[label] > 1, cosines, np.nan)
    return Scores(own, nearest, nearest_speaker)


def _means(sums: Floats) -> Vectors:
    """Return the directions of sums, which equal those of the means."""
    return normalize_lengths(sums.astype(np.float32))


def _trusted(margins: Floats, labels: Numbers) -> NDArray[np.bool_]:
    """Select utterances for means: margins from 0 up, and at least half of each speaker's."""
    # Sort by speaker, then by margin in descending order.
    order = np.lexsort((-np.nan_to_num(margins, nan=np.inf), labels))
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(labels)))
    places = np.arange(len(labels)) - np.repeat(starts, sizes)
    trusted = np.empty(len(labels), dtype=bool)
    trusted[order] = places < np.repeat((sizes + 1) // 2, sizes)
    return trusted | ~(margins < 0)


def _rows(labelled: Labelled, scores: Scores, verdicts: list[str]) -> Iterator[list[str]]:
    for i, verdict in enumerate(verdicts):
        first = int(labelled.duplicate_of[i])
        has_nearest = not np.isnan(scores.nearest[i])
        yield [
            labelled.utt_ids[i],
            labelled.speakers[labelled.labels[i]],
            _number(scores.own[i]),
            labelled.speakers[scores.nearest_speaker[i]] if has_nearest else "",
            _number(scores.nearest[i]),
            _number(scores.margin[i]),
            labelled.utt_ids[first] if first >= 0 else "",
            verdict,
        ]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6f}"
