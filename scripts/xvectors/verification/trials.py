"""Trial lists: pairs of utterances, and whether one speaker says both."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from xvectors.audio.opening import AUDIO_SUFFIXES
from xvectors.config.layout import Layout
from xvectors.errors import TrialsError, first_line
from xvectors.results.tables import IndexRow, read_failures, read_index

logger = logging.getLogger(__name__)

LABELS = {"1": True, "0": False, "target": True, "nontarget": False}
MAX_PROBLEMS_SHOWN = 20


class Trial(NamedTuple):
    """A line of a trial list: two utterances, by utt_id, and whether their speaker is the same."""

    is_target: bool
    utt1: str
    utt2: str
    line: int


def read_trials(path: Path) -> list[Trial]:
    """Read a trial list: lines of ``label utt1 utt2``, the label 1 (or target) for same speaker.

    Kaldi's order, ``utt1 utt2 target``, is understood too.

    Utterances are named by their utt_id, or, as in VoxCeleb's own lists, by a path (`utt_id_of`).

    Raises:
        TrialsError: One line for every line that is wrong, but not more than a screenful.

    """
    trials = []
    problems = []
    for number, line in _numbered_lines(path):
        fields = line.split()
        if len(fields) == len(Trial._fields) - 1 and fields[2] in ("target", "nontarget"):
            fields = [fields[2], *fields[:2]]
        if len(fields) != len(Trial._fields) - 1:
            problems.append(f"{path}:{number}: {len(fields)} fields, not label, utt1 and utt2")
        elif fields[0] not in LABELS:
            problems.append(f"{path}:{number}: label {fields[0]!r} is none of {', '.join(LABELS)}")
        else:
            utt1, utt2 = map(utt_id_of, fields[1:])
            trials.append(Trial(LABELS[fields[0]], utt1, utt2, number))
    if not problems and not _has_both_kinds(trials):
        problems.append(f"{path}: needs trials of both kinds, label 1 and label 0")
    _refuse(problems, path)
    return trials


def utt_id_of(name: str) -> str:
    """Return the utt_id of a path such as ``id10270/x6uYqmx31kE/00001.wav``; other names are ids.

    It is the one that Kaldi's numerics and our own manifests give it: without the suffix of an
    audio file, and hyphens for slashes.
    """
    if "/" not in name:
        return name
    suffix = PurePosixPath(name).suffix
    stem = name.removesuffix(suffix) if suffix.lower() in AUDIO_SUFFIXES else name
    return stem.replace("/", "-")


def find_utterances(
    path: Path, trials: list[Trial], layout: Layout, splits: Sequence[str]
) -> tuple[list[Trial], dict[str, IndexRow]]:
    """Return the trials whose utterances are embedded, and these utterances by name.

    Trials of utterances that could not be embedded are left out.

    Args:
        path: The trial list, for messages.
        trials: Its trials.
        layout: Where the tables are.
        splits: The splits in which to look for utterances.

    Raises:
        TrialsError: One line for every line whose utterance is in no split, or in two.

    """
    names = {name for trial in trials for name in (trial.utt1, trial.utt2)}
    rows: dict[str, IndexRow] = {}
    failed = set()
    twice = set()
    for split in splits:
        failed |= {row.utt_id for row in read_failures(layout.failures(split))}
        for row in read_index(layout.index(split)):
            if row.utt_id in names:
                twice |= {row.utt_id} & rows.keys()
                rows[row.utt_id] = row
    problems = []
    for trial in trials:
        for name in (trial.utt1, trial.utt2):
            if name in twice:
                problems.append(f"{path}:{trial.line}: {name} is in two splits")
            elif name not in rows and name not in failed:
                problems.append(f"{path}:{trial.line}: {name} is in no split's manifest")
    _refuse(problems, path)
    usable = [trial for trial in trials if trial.utt1 in rows and trial.utt2 in rows]
    if len(usable) < len(trials):
        n_lost = len(trials) - len(usable)
        logger.warning("%s: %d trials left out, utterances were not embedded", path, n_lost)
    if not _has_both_kinds(usable):
        raise TrialsError(f"{path}: too few of its utterances could be embedded")
    return usable, rows


def _has_both_kinds(trials: list[Trial]) -> bool:
    return {trial.is_target for trial in trials} == {True, False}


def _refuse(problems: list[str], path: Path) -> None:
    more = len(problems) - MAX_PROBLEMS_SHOWN
    if more > 0:
        problems = [*problems[:MAX_PROBLEMS_SHOWN], f"{path}: and {more} more"]
    if problems:
        raise TrialsError("\n".join(problems))


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except (OSError, UnicodeDecodeError) as error:
        raise TrialsError(f"{path}: cannot be read: {first_line(error)}") from error
