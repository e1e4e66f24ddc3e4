"""A pipeline of three stages: load one by one, compute in batches, store one by one.

A shard job on a CPU overlaps the stages: threads load the next items and store finished ones, while
the thread that asks for the outcomes computes. On a GPU several processes run them batch by batch.
"""

import copy
import math
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from typing import Any, NamedTuple, Self

from xvectors.errors import TaskError, UtteranceError, XVectorsError

# Batches that are loaded ahead, and batches that may wait to be stored, beside the current one.
BATCHES_AHEAD = 3
BATCHES_BEHIND = 3
N_WRITERS = 2
# The most bytes that wait to be computed: ten minutes of audio at 16 kHz, 40 MB. A batch has half.
MAX_LOADED_BYTES = 600 * 16000 * 4
# An index with its future outcome or exception.
Storing = tuple[int, Future[Any]]


class Loaded(NamedTuple):
    """An index with its loaded item and the item's size, or with the exception that it met."""

    idx: int
    item: Any
    error: BaseException | None = None
    n_bytes: int = 0


class Pipeline(ABC):
    """The processing of an index: `load` makes an item, `compute` results, `store` an outcome.

    Attributes:
        encoder: None, or the `Encoder` of which `load` and `compute` use `read` and `embed` only.
            On a GPU it then embeds for several processes, each of which runs the pipeline.

    """

    encoder: Any = None

    def with_encoder(self, encoder: Any) -> Self:
        """Return the same pipeline with another encoder, for another process."""
        other = copy.copy(self)
        other.encoder = encoder
        return other

    @abstractmethod
    def load(self, index: int) -> Any:
        """Return the item that `compute` needs; runs in several threads at a time.

        Raises:
            UtteranceError: This index cannot be processed.

        """

    @abstractmethod
    def compute(self, items: list[Any]) -> Sequence[Any]:
        """Return as many results as there are items, in their order."""

    @abstractmethod
    def store(self, item: Any, result: Any) -> Any:
        """Keep an item's result and return the outcome; runs in several threads at a time.

        Raises:
            UtteranceError: This index cannot be processed.

        """

    def n_bytes(self, item: Any) -> int:
        """Return the bytes of an item, which limit how much is loaded ahead."""
        return 0


def run_sequential(pipeline: Pipeline, indices: Iterable[int]) -> Iterator[Any]:
    """Yield the outcomes of indices, in order, one stage after the other. Raise any exception."""
    items = (pipeline.load(index) for index in indices)
    loaded = (
        Loaded(number, item, None, pipeline.n_bytes(item)) for number, item in enumerate(items)
    )
    for batch in _batches(loaded, sys.maxsize, MAX_LOADED_BYTES // 2):
        found = [one.item for one in batch]
        yield from map(pipeline.store, found, _compute(pipeline, found))


def run_by_batch(
    pipeline: Pipeline, indices: Iterable[int], batch_size: int, max_bytes: int
) -> Iterator[list[tuple[int, Any]]]:
    """Yield batches of indices with their outcomes, one stage after the other.

    Neighbours are computed together, at most `batch_size`, and at most `max_bytes` without the last
    one. An error in one index fails only that index.
    """
    for batch in _batches((_load(pipeline, index) for index in indices), batch_size, max_bytes):
        results = _compute_or_fail(pipeline, [one.item for one in batch if not one.error])
        yield [(one.idx, one.error or _store(pipeline, one.item, next(results))) for one in batch]
        # Free the memory before the next batch is loaded.
        del batch, results


def _load(pipeline: Pipeline, index: int) -> Loaded:
    try:
        item = pipeline.load(index)
    except Exception as error:
        return Loaded(index, None, error)
    return Loaded(index, item, None, pipeline.n_bytes(item))


def _store(pipeline: Pipeline, item: Any, result: Any) -> Any:
    if isinstance(result, BaseException):
        return result
    try:
        return pipeline.store(item, result)
    except Exception as error:
        return error


def run_threaded(
    pipeline: Pipeline, indices: Iterable[int], batch_size: int, n_readers: int
) -> Generator[tuple[int, Any], None, None]:
    """Yield each index, in order, with its outcome or its exception of any stage.

    Neighbours are computed together. If a batch cannot be computed, its items are computed one by
    one, so that an error in one item fails only that item. Only the project's own errors other than
    `UtteranceError`, which concern more than one item, end the work. Close the generator to stop
    early. In both cases computed results are still stored.
    """
    readers, writers = ThreadPoolExecutor(n_readers), ThreadPoolExecutor(N_WRITERS)
    budget = _MemoryBudget()
    storing: deque[list[Storing]] = deque()
    try:
        ahead = _load_ahead(pipeline, indices, readers, budget, BATCHES_AHEAD * batch_size)
        for batch in _batches(ahead, batch_size, MAX_LOADED_BYTES // 2):
            storing.append([])
            results = _compute_or_fail(pipeline, [one.item for one in batch if not one.error])
            for one in batch:
                result = one.error or next(results)
                storing[-1].append((one.idx, writers.submit(_store, pipeline, one.item, result)))
            if len(storing) > BATCHES_BEHIND:
                yield from _outcomes(storing.popleft())
        for some in storing:
            yield from _outcomes(some)
    finally:
        budget.open()
        readers.shutdown(cancel_futures=True)
        writers.shutdown()


class _MemoryBudget:
    """A limit of the memory for items that are loaded ahead. Loading waits until there is room."""

    def __init__(self) -> None:
        self._n_bytes: float = 0
        self._wanted: int | None = None
        self._changed = Condition()

    def wait(self, index: int) -> None:
        """Wait for room. The index that is `want`ed never waits."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._n_bytes <= MAX_LOADED_BYTES or self._wanted == index
            )

    def want(self, index: int) -> None:
        with self._changed:
            self._wanted = index
            self._changed.notify_all()

    def take(self, n_bytes: float) -> None:
        """Take room, or return it with a negative number."""
        with self._changed:
            self._n_bytes += n_bytes
            self._changed.notify_all()

    def open(self) -> None:
        """End all waiting."""
        self.take(-math.inf)


def _load_ahead(
    pipeline: Pipeline,
    indices: Iterable[int],
    readers: ThreadPoolExecutor,
    budget: _MemoryBudget,
    n_ahead: int,
) -> Iterator[Loaded]:
    """Yield indices in order, with an item or an exception, while later ones are loading."""

    def load(index: int) -> Loaded:
        budget.wait(index)
        one = _load(pipeline, index)
        budget.take(one.n_bytes)
        return one

    def loaded(index: int, future: Future[Loaded]) -> Loaded:
        budget.want(index)
        # For instance SystemExit of a task. It ends the work when earlier items are done.
        if error := future.exception():
            return Loaded(index, None, error)
        budget.take(-future.result().n_bytes)
        return future.result()

    ahead: deque[tuple[int, Future[Loaded]]] = deque()
    for index in indices:
        ahead.append((index, readers.submit(load, index)))
        if len(ahead) > n_ahead:
            yield loaded(*ahead.popleft())
    while ahead:
        yield loaded(*ahead.popleft())


def _batches(loaded: Iterable[Loaded], batch_size: int, max_bytes: int) -> Iterator[list[Loaded]]:
    """Yield loaded items in batches, smaller ones if they take more than `max_bytes`."""
    batch: list[Loaded] = []
    n_bytes = 0
    for one in loaded:
        batch.append(one)
        n_bytes += one.n_bytes
        if len(batch) == batch_size or n_bytes > max_bytes:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch


def _compute_or_fail(pipeline: Pipeline, items: list[Any]) -> Iterator[Any]:
    """Yield the result of each item, or the exception that it raises on its own."""
    try:
        results: Sequence[Any] | None = _compute(pipeline, items)
    except Exception as error:
        if isinstance(error, XVectorsError) and not isinstance(error, UtteranceError):
            raise
        results = [error] if len(items) == 1 else None
    # Here the traceback no longer keeps the failed batch in memory.
    if results is not None:
        yield from results
        return
    for item in items:
        yield from _compute_or_fail(pipeline, [item])


def _compute(pipeline: Pipeline, items: list[Any]) -> Sequence[Any]:
    results: Any = pipeline.compute(items) if items else []
    got = f"{len(results)} results" if hasattr(results, "__len__") else type(results).__name__
    if got != f"{len(items)} results":
        raise TaskError(
            f"{type(pipeline).__name__}.compute returned {got} for {len(items)} items: return one "
            "result per item, in their order"
        )
    found: Sequence[Any] = results
    return found


def _outcomes(storing: list[Storing]) -> Iterator[tuple[int, Any]]:
    return ((index, future.exception() or future.result()) for index, future in storing)
