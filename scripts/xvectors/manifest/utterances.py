"""The utterances of a manifest, read from disk on demand."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

from xvectors.errors import ManifestError
from xvectors.manifest.lines import Utterance, line_content, line_starts, parse_line, version_of

# The last lines stay in memory, because each is needed several times.
N_REMEMBERED = 256


class Utterances(Sequence[Utterance]):
    """The utterances of a manifest, in order, each read from the file on demand.

    Only the places where lines begin are in memory: 8 bytes per utterance, however long its line.
    """

    def __init__(
        self,
        path: Path,
        starts: "NDArray[np.int64] | array[int] | None" = None,
        version: tuple[int, int] | None = None,
    ) -> None:
        """Find where the lines of a manifest begin, without checking them.

        Args:
            path: The manifest.
            starts: The bytes at which its utterances' lines begin, if known.
            version: The manifest's size and time before `starts` were found.

        Raises:
            ManifestError: It cannot be read.

        """
        self.path = path
        self._version = version or version_of(path)
        found = line_starts(path) if starts is None else starts
        self._starts = np.asarray(found, dtype=np.int64)
        self._remembered = lru_cache(N_REMEMBERED)(self._read)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> list[Utterance]: ...
    def __getitem__(self, index: int | slice) -> Utterance | list[Utterance]:
        if isinstance(index, slice):
            return list(self.at(range(*index.indices(len(self)))))
        return self._remembered(range(len(self))[index])

    def __iter__(self) -> Iterator[Utterance]:
        return self.at(range(len(self)))

    def at(self, positions: Iterable[int]) -> Iterator[Utterance]:
        """Yield the utterances at `positions`.

        Raises:
            ManifestError: The manifest has changed since it was looked at.

        """
        self._check_version()
        with self.path.open("rb") as file:
            for position in positions:
                yield self._parse(position, self._line_at(file, position))
        self._check_version()

    def _read(self, position: int) -> Utterance:
        # Touching a manifest disturbs no job. A changed line has another utt_id, or its embedding
        # gets another provenance.
        with self.path.open("rb") as file:
            return self._parse(position, self._line_at(file, position))

    def _line_at(self, file: BinaryIO, position: int) -> bytes:
        start = int(self._starts[position])
        is_last = position + 1 == len(self._starts)
        # Not to the next LF, which a file that ends its lines in CR alone does not have.
        end = self._version[0] if is_last else int(self._starts[position + 1])
        if file.tell() != start:
            file.seek(start)
        lines = file.read(end - start).splitlines()
        return lines[0] if lines else b""

    def _parse(self, position: int, line: bytes) -> Utterance:
        try:
            return parse_line(line_content(line, is_first=self._starts[position] == 0))
        except ManifestError as problem:
            self._check_version()
            raise ManifestError(f"{self.path}: utterance {position}: {problem}") from problem

    def _check_version(self) -> None:
        if version_of(self.path) != self._version:
            raise ManifestError(f"{self.path}: changed while it was read. Rerun the same command")


class LazyColumn(Sequence[Any]):
    """A value of each utterance, made from its line on demand."""

    def __init__(self, utterances: Utterances, value: Callable[[Utterance], Any]) -> None:
        self._utterances = utterances
        self._value = value

    def __len__(self) -> int:
        return len(self._utterances)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return list(map(self._value, self._utterances[index]))
        return self._value(self._utterances[index])

    def __iter__(self) -> Iterator[Any]:
        return map(self._value, self._utterances)


class UtterancesOfSpeakers(Mapping[str, list[str]]):
    """The utt_ids of each speaker, in order, gathered on first use."""

    def __init__(self, utterances: Utterances) -> None:
        self._utterances = utterances

    @cached_property
    def _utt_ids(self) -> dict[str, list[str]]:
        utt_ids: dict[str, list[str]] = {}
        for utterance in self._utterances:
            utt_ids.setdefault(utterance.speaker_id, []).append(utterance.utt_id)
        return utt_ids

    def __getitem__(self, speaker_id: str) -> list[str]:
        return self._utt_ids[speaker_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._utt_ids)

    def __len__(self) -> int:
        return len(self._utt_ids)
