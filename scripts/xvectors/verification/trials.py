"""Trial lists: pairs of utterances, labelled as same or different speaker, or not labelled."""

import logging
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from xvectors.audio.opening import AUDIO_SUFFIXES
from xvectors.config.layout import Layout
from xvectors.errors import TrialsError, first_line
from xvectors.manifest.lines import numbered_lines
from xvectors.results.tables import EmbeddedRow, read_embedded, read_excluded, read_failures

logger = logging.getLogger(__name__)

LABELS = {"1": True, "0": False, "target": True, "nontarget": False}
N_NAMES = 2
MAX_PROBLEMS_SHOWN = 20
# Names that share fewer characters at both ends do not count as similar.
MIN_LIKENESS = 4
# Folders before an utterance's own path in lists such as VoxCeleb's and CN-Celeb's.
OUTER_FOLDERS = ("wav", "wavs", "audio", "data", "dev", "test", "eval", "enroll")


class Trial(NamedTuple):
    """A line of a trial list: the utt_ids of two utterances and whether they share a speaker.

    `is_target` is None in a list without labels.
    """

    is_target: bool | None
    utt1: str
    utt2: str
    line: int


def read_trials(path: Path) -> list[Trial]:
    """Read a trial list with lines ``label utt1 utt2``. Label 1 or target means same speaker.

    The label may also come last, as in Kaldi's and CN-Celeb's lists. If the first line has two
    fields, the list has no labels. Utterances are named by their utt_id, or by a path as in
    VoxCeleb's own lists (`utt_id_of`).

    Raises:
        TrialsError: One line for every line that is wrong or contradicts an earlier one. At most
            `MAX_PROBLEMS_SHOWN` are listed.

    """
    trials = []
    problems = []
    labelled: bool | None = None
    for number, line in _numbered_lines(path):
        fields = line.split()
        if labelled is None:
            labelled = len(fields) != N_NAMES
        try:
            trials.append(_parse(fields, number, labelled))
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    if labelled is not False:
        problems += _contradictions(path, trials)
        if not problems and not _has_both_kinds(trials):
            problems.append(f"{path}: needs trials of both kinds, label 1 and label 0")
    _refuse(problems, path)
    return trials


def _parse(fields: list[str], number: int, labelled: bool) -> Trial:
    """Return the trial of a line; raise ValueError if it is wrong."""
    if not labelled:
        if len(fields) != N_NAMES:
            raise ValueError(
                f"{len(fields)} fields, not utt1 and utt2 as in the first line. Give all lines a "
                "label or none"
            )
        return Trial(None, utt_id_of(fields[0]), utt_id_of(fields[1]), number)
    if len(fields) != N_NAMES + 1:
        raise ValueError(f"{len(fields)} fields, not label, utt1 and utt2")
    if fields[0] not in LABELS and fields[-1] in LABELS:
        fields = [fields[2], *fields[:2]]
    if fields[0] not in LABELS:
        raise ValueError(f"label {fields[0]!r} is not one of {', '.join(LABELS)}")
    return Trial(LABELS[fields[0]], utt_id_of(fields[1]), utt_id_of(fields[2]), number)


def _contradictions(path: Path, trials: list[Trial]) -> Iterator[str]:
    """Yield a problem for each line that gives a pair another label than an earlier line."""
    hashes = {True: array("q"), False: array("q")}
    for trial in trials:
        hashes[bool(trial.is_target)].append(hash(_pair(trial)))
    # Few pairs have a hash that occurs with both labels.
    both = set(np.intersect1d(np.array(hashes[True]), np.array(hashes[False])).tolist())
    first: dict[tuple[str, str], Trial] = {}
    for trial in trials if both else ():
        if hash(_pair(trial)) in both:
            earlier = first.setdefault(_pair(trial), trial)
            if earlier.is_target != trial.is_target:
                yield (
                    f"{path}:{trial.line}: {trial.utt1} and {trial.utt2} have another label on "
                    f"line {earlier.line}"
                )


def _pair(trial: Trial) -> tuple[str, str]:
    return min(trial.utt1, trial.utt2), max(trial.utt1, trial.utt2)


def utt_id_of(name: str) -> str:
    """Return the utt_id for a path such as ``id10270/x6uYqmx31kE/00001.wav``.

    Names without a slash are utt_ids already. Otherwise the utt_id follows Kaldi's recipes and the
    manifests of this project: it lacks ``./`` and the suffix of an audio file, and has hyphens for
    slashes.
    """
    if "/" not in name:
        return name
    parts = (part for part in _without_suffix(name).split("/") if part not in ("", "."))
    return "-".join(parts) or "-"


def _without_suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in AUDIO_SUFFIXES else name


def _spellings(utt_id: str) -> Iterator[str]:
    """Yield the utt_ids that a name in a list may mean, most likely first."""
    yield utt_id
    name = _without_suffix(utt_id)
    while True:
        yield name
        folder, hyphen, rest = name.partition("-")
        if not hyphen or folder not in OUTER_FOLDERS:
            return
        name = rest


def _names(trials: Iterable[Trial]) -> set[str]:
    return {name for trial in trials for name in (trial.utt1, trial.utt2)}


def _all_spellings(names: Iterable[str]) -> set[str]:
    return {spelling for name in names for spelling in _spellings(name)}


def check_trials(paths: Iterable[Path], manifests: Sequence[Path]) -> None:
    """Check that each utterance of trial lists is in one of the manifests of all splits.

    Raises:
        TrialsError: One line for every name that is in no manifest or in several. The first line of
            a missing one names the most similar utterance.

    """
    lists = {path: read_trials(path) for path in paths}
    spelled = _all_spellings(_names(trial for one in lists.values() for trial in one))
    known = Counter(utt_id for utt_id in _utt_ids(manifests) if utt_id in spelled)
    problems = []
    for path, one in lists.items():
        missing: dict[str, int] = {}
        twice: dict[str, int] = {}
        for trial in one:
            for name in (trial.utt1, trial.utt2):
                meant = next((spelling for spelling in _spellings(name) if spelling in known), None)
                if meant is None:
                    missing.setdefault(name, trial.line)
                elif known[meant] > 1:
                    twice.setdefault(name, trial.line)
        found = [
            f"{path}:{line}: {name} is in no split's manifest" for name, line in missing.items()
        ]
        if missing:
            name = next(iter(missing))
            nearest = max(
                _utt_ids(manifests), key=lambda utt_id: _likeness(utt_id, name), default=None
            )
            if nearest is not None and _likeness(nearest, name) >= MIN_LIKENESS:
                found[0] += f"; the most similar utterance is {nearest}"
        found += [f"{path}:{line}: {name} is in two splits" for name, line in twice.items()]
        problems += _first_few(found, path)
    if problems:
        raise TrialsError("\n".join(problems))


def _utt_ids(manifests: Iterable[Path]) -> Iterator[str]:
    for manifest in manifests:
        for _, _, line in numbered_lines(manifest):
            yield line.partition(b"\t")[0].decode("utf-8", "replace")


def _likeness(one: str, other: str) -> int:
    """Return the number of characters that two names share at both ends."""
    return _shared(one, other) + _shared(one[::-1], other[::-1])


def _shared(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def find_utterances(
    path: Path, trials: list[Trial], layout: Layout, splits: Sequence[str]
) -> tuple[list[Trial], dict[str, EmbeddedRow]]:
    """Return the trials whose utterances are embedded, and these utterances by name.

    Trials of utterances that failed or are excluded are left out. Messages name the list's `path`.

    Raises:
        TrialsError: One line for every line whose utterance is in no split or in two splits.

    """
    names = _names(trials)
    spelled = _all_spellings(names)
    found: dict[str, EmbeddedRow] = {}
    left_out: set[str] = set()
    twice: set[str] = set()
    for split in splits:
        left_out |= {row.utt_id for row in read_failures(layout.failures(split))} & spelled
        if layout.excluded(split).exists():
            left_out |= {row.utt_id for row in read_excluded(layout.excluded(split))} & spelled
        for row in read_embedded(layout.table(split)):
            if row.utt_id in spelled:
                twice |= {row.utt_id} & found.keys()
                found[row.utt_id] = row
    meant = {
        name: next((one for one in _spellings(name) if one in found or one in left_out), name)
        for name in names
    }
    problems = []
    for trial in trials:
        for name in (trial.utt1, trial.utt2):
            if meant[name] in twice:
                problems.append(f"{path}:{trial.line}: {name} is in two splits")
            elif meant[name] not in found and meant[name] not in left_out:
                problems.append(f"{path}:{trial.line}: {name} is in no split's manifest")
    _refuse(problems, path)
    rows = {name: found[utt_id] for name, utt_id in meant.items() if utt_id in found}
    usable = [trial for trial in trials if trial.utt1 in rows and trial.utt2 in rows]
    if len(usable) < len(trials):
        n_lost = len(trials) - len(usable)
        logger.warning("%s: left out %d trials whose utterances were not embedded", path, n_lost)
    if not usable or (has_labels(trials) and not _has_both_kinds(usable)):
        raise TrialsError(f"{path}: too few of its utterances could be embedded")
    return usable, rows


def has_labels(trials: Sequence[Trial]) -> bool:
    """Tell whether the trials of a list have labels: all have, or none."""
    return bool(trials) and trials[0].is_target is not None


def _has_both_kinds(trials: list[Trial]) -> bool:
    return {trial.is_target for trial in trials} == {True, False}


def _refuse(problems: list[str], path: Path) -> None:
    if problems:
        raise TrialsError("\n".join(_first_few(problems, path)))


def _first_few(problems: list[str], path: Path) -> list[str]:
    more = len(problems) - MAX_PROBLEMS_SHOWN
    return [*problems[:MAX_PROBLEMS_SHOWN], f"{path}: and {more} more"] if more > 0 else problems


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except (OSError, UnicodeDecodeError) as error:
        raise TrialsError(f"{path}: cannot be read: {first_line(error)}") from error
