"""Work in three stages: load one by one, compute in batches, store one by one.

A shard job overlaps them: threads load what comes next and store what is done, while the
computing goes on in the thread that asks for the outcomes.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from xvectors.errors import TaskError, UtteranceError, XVectorsError

# What is loaded ahead, and what may wait to be stored, beside the batch that is computed.
BATCHES_AHEAD = 3
SECONDS_AHEAD = 600
BATCHES_BEHIND = 3
N_WRITERS = 2
# What `run_in_turn` keeps in memory before it computes: ten minutes at 16 kHz, 40 MB.
MAX_LOADED_BYTES = 600 * 16000 * 4


class Batch(NamedTuple):
    """Indices that are computed together, and the seconds of audio that they are."""

    indices: Sequence[int]
    seconds: float


class Stages(ABC):
    """What is done to an index: `load` makes an item of it, `store` an outcome of that."""

    @abstractmethod
    def load(self, index: int) -> Any:
        """Return what `compute` needs of an index; runs in threads, several at a time.

        Raises:
            UtteranceError: This one cannot be processed.

        """

    @abstractmethod
    def compute(self, items: list[Any]) -> Sequence[Any]:
        """Return as many results as there are items, in their order."""

    @abstractmethod
    def store(self, item: Any, result: Any) -> Any:
        """Keep an item's result and return the outcome; runs in threads, several at a time.

        Raises:
            UtteranceError: This one cannot be processed.

        """

    def n_bytes(self, item: Any) -> int:
        """Return the memory that an item takes."""
        return 0


def run_in_turn(stages: Stages, indices: Iterable[int]) -> Iterator[Any]:
    """Yield the outcomes of indices, in order, one stage after the other."""
    items: list[Any] = []
    for index in indices:
        items.append(stages.load(index))
        if sum(map(stages.n_bytes, items)) > MAX_LOADED_BYTES:
            yield from map(stages.store, items, _compute(stages, items))
            items = []
    yield from map(stages.store, items, _compute(stages, items))


def run_overlapped(
    stages: Stages, batches: Iterable[Batch], n_readers: int
) -> Generator[tuple[int, Any], None, None]:
    """Yield each index with its outcome, or with the exception that some stage raised for it.

    A batch that cannot be computed is computed once more one by one, so that what is wrong
    with an item costs only that item; only the project's own errors other than `UtteranceError`,
    which are about more than one item, end it. Close the generator to stop early. Either way
    what is computed by then is still stored.

    Args:
        stages: What is done to each index.
        batches: Taken from as loading goes on.
        n_readers: Threads that load.

    """
    readers, writers = ThreadPoolExecutor(n_readers), ThreadPoolExecutor(N_WRITERS)
    storing: deque[list[tuple[int, Future[Any]]]] = deque()
    try:
        for batch in _load_ahead(stages, batches, readers):
            loaded = []
            for index, future in batch:
                error = future.exception()
                if error is None:
                    loaded.append((index, future.result()))
                else:
                    yield index, error
            results = _compute_or_fail(stages, [item for _, item in loaded])
            storing.append([])
            for (index, item), result in zip(loaded, results, strict=True):
                if isinstance(result, Exception):
                    yield index, result
                else:
                    storing[-1].append((index, writers.submit(stages.store, item, result)))
            if len(storing) > BATCHES_BEHIND:
                yield from _outcomes(storing.popleft())
        for stored in storing:
            yield from _outcomes(stored)
    finally:
        readers.shutdown(cancel_futures=True)
        writers.shutdown()


def _load_ahead(
    stages: Stages, batches: Iterable[Batch], readers: ThreadPoolExecutor
) -> Iterator[list[tuple[int, Future[Any]]]]:
    """Yield batches in order, some of those after it being loaded meanwhile."""
    ahead: deque[list[tuple[int, Future[Any]]]] = deque()
    seconds: deque[float] = deque()
    for batch in batches:
        ahead.append([(index, readers.submit(stages.load, index)) for index in batch.indices])
        seconds.append(batch.seconds)
        while len(ahead) > BATCHES_AHEAD or sum(seconds) > SECONDS_AHEAD:
            yield ahead.popleft()
            seconds.popleft()
    yield from ahead


def _compute_or_fail(stages: Stages, items: list[Any]) -> Iterator[Any]:
    """Yield the result of each item, or the exception that it raises on its own."""
    try:
        yield from _compute(stages, items)
    except Exception as error:
        if isinstance(error, XVectorsError) and not isinstance(error, UtteranceError):
            raise
        if len(items) == 1:
            yield error
        else:
            for item in items:
                yield from _compute_or_fail(stages, [item])


def _compute(stages: Stages, items: list[Any]) -> Sequence[Any]:
    results = stages.compute(items) if items else []
    if len(results) != len(items):
        raise TaskError(
            f"{type(stages).__name__}.compute returned {len(results)} results for {len(items)} "
            "items: return one per item, in their order"
        )
    return results


def _outcomes(stored: list[tuple[int, Future[Any]]]) -> Iterator[tuple[int, Any]]:
    for index, future in stored:
        yield index, future.exception() or future.result()
