"""Totals over a split's table, and a sample of its utterances.

Both functions stream the table, so memory does not limit its length. The sample is pseudo-random
and reproducible: speakers and utterances are ordered by a hash of their names. It changes little
when a corpus grows.
"""

import hashlib
import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from xvectors.results.tables import EmbeddedRow

# With fewer utterances, a speaker's coherence would be unreliable.
MIN_OF_SPEAKER = 20


class Totals(NamedTuple):
    """Totals over all utterances of a table.

    Attributes:
        n_utterances: Number of utterances of each speaker.
        seconds: Their durations.
        shortest: The first of the shortest utterances. None in an empty table.
        longest: The first of the longest utterances. None in an empty table.

    """

    n_utterances: Counter[str]
    seconds: "array[float]"
    shortest: EmbeddedRow | None
    longest: EmbeddedRow | None


def add_up(rows: Iterable[EmbeddedRow]) -> Totals:
    """Return the totals over a table."""
    n_utterances: Counter[str] = Counter()
    seconds = array("d")
    shortest = longest = None
    for row in rows:
        n_utterances[row.speaker_id] += 1
        seconds.append(row.seconds)
        if shortest is None or row.seconds < shortest.seconds:
            shortest = row
        if longest is None or row.seconds > longest.seconds:
            longest = row
    return Totals(n_utterances, seconds, shortest, longest)


def sample_rows(
    rows: Iterable[EmbeddedRow], n_utterances: Mapping[str, int], limit: int
) -> list[EmbeddedRow]:
    """Return at most `limit` utterances of a table, grouped by speaker.

    `n_utterances` is the table's number of them for each speaker. If the table has more, every
    speaker gets the same maximum, chosen so that the sample has `limit` utterances. The maximum is
    never below `MIN_OF_SPEAKER`. If it would be, speakers are left out instead: first those with a
    single utterance, then random ones.
    """
    wanted = dict(_shares(n_utterances, limit))
    kept: dict[str, list[tuple[int, int, EmbeddedRow]]] = {speaker: [] for speaker in wanted}
    for position, row in enumerate(rows):
        if row.speaker_id in wanted:
            # The heap's head is the utterance with the largest hash. It is removed first.
            heap = kept[row.speaker_id]
            heapq.heappush(heap, (-rank(row.utt_id), position, row))
            if len(heap) > wanted[row.speaker_id]:
                heapq.heappop(heap)
    return [
        row
        for speaker in sorted(kept)
        for _, _, row in sorted(kept[speaker], key=lambda entry: entry[1])
    ]


def _shares(n_utterances: Mapping[str, int], limit: int) -> Iterator[tuple[str, int]]:
    """Yield speakers and how many of their utterances are wanted."""
    most = max(_equal_share(n_utterances.values(), limit), MIN_OF_SPEAKER)
    room = limit
    for speaker in sorted(n_utterances, key=lambda one: (n_utterances[one] == 1, rank(one))):
        share = min(n_utterances[speaker], most, room)
        if share:
            yield speaker, share
        room -= share


def _equal_share(sizes: Iterable[int], limit: int) -> int:
    """Return the largest maximum per speaker that keeps the sum within `limit`."""
    ascending = sorted(sizes)
    for index, size in enumerate(ascending):
        share = limit // (len(ascending) - index)
        if size > share:
            return share
        limit -= size
    return ascending[-1] if ascending else 0


def rank(name: str) -> int:
    """Return a pseudo-random number, from 0, that depends on a name alone."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
