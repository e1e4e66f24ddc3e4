"""One encoder on a GPU for several processes that read and write.

A GPU embeds thousands of utterances per second. Threads of one process read and write about five
hundred, because Python lets one of them run at a time. So a job forks processes. Each of them
processes batches of the job's utterances, and the job itself embeds for all of them. The signals
are in memory that a process shares with the job.
"""

import ctypes
import gc
import logging
import math
import mmap
import os
import pickle
import signal
import time
import traceback
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from threading import Lock
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray

from xvectors.audio.signal import Signal
from xvectors.encoders.encoder import Encoder
from xvectors.encoders.threads import one_thread
from xvectors.errors import ShardError, UtteranceError, XVectorsError
from xvectors.job.shard_utterances import LONG_SECONDS
from xvectors.sharding.assignment import FILE_OVERHEAD
from xvectors.tasks.pipeline import Pipeline, run_by_batch

logger = logging.getLogger(__name__)

# While the GPU computes for one thread, another one prepares the next batch.
N_SUBMITTERS = 2
# More were not tried on a GPU (docs/measurements/gpu.md).
MAX_PROCESSES = 15
# Seconds of audio that are embedded together, as many as fit into a batch of the network.
GROUP_SECONDS = 600
# The first batch of a process is so small that the GPU soon has work. Each next one doubles.
FIRST_SECONDS = 20
# Recordings above `LONG_SECONDS` that processes hold at a time, in all: 1.4 GB. A process holds a
# recording of any length if it is the only one.
MAX_LONG_SECONDS = 2 * 3600
SECONDS_BETWEEN_TRIES = 0.1
# Limit of a batch's bytes before its last signal, in case signals are longer than stated.
BATCH_BYTES = 80 * 2**20
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Request(NamedTuple):
    """Signals to embed, one after the other in the shared memory: their lengths and rates."""

    lengths: list[int]
    rates: list[int]


class SharedSignals:
    """Memory for the signals of a batch, shared by a process and its parent."""

    def __init__(self) -> None:
        self._file = os.memfd_create("signals")
        self._map: mmap.mmap | None = None
        self._array: NDArray[numpy.float32] = numpy.empty(0, numpy.float32)

    def array(self, n_samples: int) -> NDArray[numpy.float32]:
        """Return an array of so many samples in it; enlarge it if necessary."""
        if n_samples > len(self._array):
            n_bytes = max(
                n_samples * self._array.itemsize, min(2 * self._array.nbytes, BATCH_BYTES)
            )
            if os.fstat(self._file).st_size < n_bytes:
                os.ftruncate(self._file, n_bytes)
            self._map = mmap.mmap(self._file, 0, mmap.MAP_SHARED | mmap.MAP_POPULATE)
            self._array = numpy.frombuffer(self._map, numpy.float32)
        return self._array[:n_samples]

    def shrink(self) -> None:
        """Release the memory beyond the size of a usual batch, after hours of audio."""
        if self._map is not None and len(self._map) > BATCH_BYTES:
            self._map.madvise(mmap.MADV_REMOVE, BATCH_BYTES, len(self._map) - BATCH_BYTES)

    def close(self) -> None:
        """Release it."""
        os.close(self._file)


class ServedEncoder:
    """The parent process's encoder as a forked process uses it."""

    def __init__(self, encoder: Encoder, connection: Connection, memory: SharedSignals) -> None:
        """Take the encoder, used here for reading only, and the connection to the parent."""
        self._encoder = encoder
        self._connection = connection
        self._memory = memory

    def __getattr__(self, name: str) -> Any:
        """Return another attribute of the encoder, for instance `read`."""
        return getattr(self._encoder, name)

    def embed(self, signals: Sequence[Signal | torch.Tensor]) -> torch.Tensor:
        """Embed signals as `Encoder.embed` does."""
        rated = self._encoder.with_rates(signals)
        lengths = [len(one.samples) for one in rated]
        numpy.concatenate([one.samples for one in rated], out=self._memory.array(sum(lengths)))
        self._connection.send(Request(lengths, [one.rate for one in rated]))
        answer = self._connection.recv()
        self._memory.shrink()
        if isinstance(answer, BaseException):
            raise answer
        return torch.from_numpy(answer)


def run_in_processes(
    pipeline: Pipeline, utterances: Sequence[tuple[float, int]], n_processes: int
) -> Generator[tuple[int, Any], None, None]:
    """Yield each index, in any order, with its outcome or its exception.

    Forked processes, at most one per batch and `MAX_PROCESSES`, run the pipeline, and its encoder
    embeds for them here. `utterances` are seconds and indices; neighbours are computed together. An
    error in one index fails only that index. Close the generator to stop early.

    Raises:
        ShardError: A process was killed.

    """
    n_processes = min(max(n_processes, 1), MAX_PROCESSES)
    server = _Server(pipeline.encoder)
    children = _Children(pipeline, *cut_batches(utterances, n_processes))
    submitters = ThreadPoolExecutor(N_SUBMITTERS)
    try:
        children.start(n_processes)
        # The processes keep the processors busy.
        with one_thread():
            for child, message in children.messages():
                if isinstance(message, Request):
                    server.ask(child, message)
                    submitters.submit(server.answer)
                elif isinstance(message, BaseException):
                    raise message
                else:
                    yield from message
    finally:
        submitters.shutdown(cancel_futures=True)
        children.stop()


class Batch(NamedTuple):
    """Indices that a process reads together.

    `long_seconds` counts against `MAX_LONG_SECONDS`. It is 0 without a long recording.
    """

    indices: list[int]
    long_seconds: int = 0


def cut_batches(
    utterances: Sequence[tuple[float, int]], n_processes: int
) -> tuple[list[Batch], list[Batch]]:
    """Cut utterances, their seconds and indices, into batches by their seconds.

    While the GPU embeds one half of the processes' batches, the other half is prepared. A long
    recording is a batch of its own.

    Returns:
        The batches of a long recording, and the others.

    """
    long: list[Batch] = []
    usual = min(2 * GROUP_SECONDS / n_processes, GROUP_SECONDS)
    batches: list[Batch] = []
    indices: list[int] = []
    total = 0.0
    for seconds, index in utterances:
        if seconds > LONG_SECONDS:
            long.append(Batch([index], math.ceil(seconds)))
            continue
        indices.append(index)
        total += seconds + FILE_OVERHEAD
        if total >= min(usual, FIRST_SECONDS * 2 ** (len(batches) // n_processes)):
            batches.append(Batch(indices))
            indices, total = [], 0.0
    return long, [*batches, *([Batch(indices)] if indices else [])]


class _Child(NamedTuple):
    """A forked process, with its connection and memory."""

    process: Any
    connection: Connection
    memory: SharedSignals


class _Asked(NamedTuple):
    """A request of a process that waits for the answer."""

    child: _Child
    request: Request

    @property
    def seconds(self) -> float:
        """The seconds of its signals."""
        lengths_and_rates = zip(self.request.lengths, self.request.rates, strict=True)
        return sum(length / rate for length, rate in lengths_and_rates)

    def signals(self) -> list[Signal]:
        """Return its signals, in the shared memory."""
        lengths, rates = self.request
        samples = torch.from_numpy(self.child.memory.array(sum(lengths)))
        parts = torch.split(samples, lengths)
        return [Signal(part, rate) for part, rate in zip(parts, rates, strict=True)]


class _Server:
    """Embeds what processes ask for, the requests of several processes together."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._waiting: deque[_Asked] = deque()
        self._lock = Lock()

    def ask(self, child: _Child, request: Request) -> None:
        """Add a request. Call `answer` once for each, in any thread."""
        with self._lock:
            self._waiting.append(_Asked(child, request))

    def answer(self) -> None:
        """Answer the oldest requests, as many as go together, if there are any left.

        A process gets its embeddings, float32, (signals, dim), or the encoder's exception.
        """
        together = self._take()
        try:
            for one, answer in zip(together, self._answers(together), strict=True):
                one.child.connection.send(answer)
        except Exception:
            # The process has ended, or would wait forever for this answer. Kill it; `messages`
            # then raises the error.
            logger.debug("no answer for a process", exc_info=True)
            for one in together:
                one.child.process.kill()

    def _take(self) -> list[_Asked]:
        with self._lock:
            together: list[_Asked] = []
            seconds = 0.0
            while self._waiting:
                seconds += self._waiting[0].seconds
                if together and seconds > GROUP_SECONDS:
                    break
                together.append(self._waiting.popleft())
            return together

    def _answers(self, together: list[_Asked]) -> list[Any]:
        if not together:
            return []
        try:
            signals = [signal for one in together for signal in one.signals()]
            embeddings = self._encoder.embed(signals).numpy()
        except BaseException as error:
            if len(together) == 1:
                return [_portable(error)]
        else:
            ends = numpy.cumsum([len(one.request.lengths) for one in together])
            return numpy.split(embeddings, ends[:-1])
        # Here the traceback no longer keeps the failed batch in memory.
        return [answer for one in together for answer in self._answers([one])]


class _Children:
    """Forked processes that take batches from one list."""

    def __init__(self, pipeline: Pipeline, long: list[Batch], short: list[Batch]) -> None:
        self._pipeline = pipeline
        self._long, self._short = long, short
        # Forked, because they need the objects of this process, and nothing of the GPU.
        self._context = get_context("fork")
        self._lock = self._context.Lock()
        self._n_long_taken = self._context.RawValue("q", 0)
        self._n_short_taken = self._context.RawValue("q", 0)
        self._long_seconds = self._context.RawValue("q", 0)
        self._parent = os.getpid()
        self._all: list[_Child] = []

    def start(self, n_processes: int) -> None:
        """Start processes, at most one per batch."""
        # A process must not free what its parent has on the GPU.
        gc.collect()
        gc.freeze()
        for _ in range(min(n_processes, len(self._long) + len(self._short))):
            here, there = self._context.Pipe()
            memory = SharedSignals()
            process = self._context.Process(
                target=self._process_batches, args=(there, memory), daemon=True
            )
            process.start()
            there.close()
            self._all.append(_Child(process, here, memory))
        gc.unfreeze()

    def messages(self) -> Iterator[tuple[_Child, Any]]:
        """Yield what the processes send, until all have ended."""
        working = {child.connection: child for child in self._all}
        while working:
            for connection in wait(list(working)):
                child = working[connection]  # type: ignore[index]
                try:
                    message = child.connection.recv()
                except (EOFError, OSError) as error:
                    child.process.join()
                    raise ShardError(
                        f"a process that reads audio ended with status {child.process.exitcode} "
                        "(-9 mostly means that memory ran out). Rerun the same command. Finished "
                        "work is kept"
                    ) from error
                if message is None:
                    del working[child.connection]
                else:
                    yield child, message

    def stop(self) -> None:
        """Kill the remaining processes, which is safe: files are written whole or not at all."""
        for child in self._all:
            child.process.kill()
        for child in self._all:
            child.process.join()
            child.connection.close()
            child.memory.close()

    def _process_batches(self, connection: Connection, memory: SharedSignals) -> None:
        """Process batches until none are left, in a forked process."""
        die_with(self._parent)
        # PyTorch's threads do not survive a fork, and there are enough processes.
        torch.set_num_threads(1)
        served = ServedEncoder(self._pipeline.encoder, connection, memory)
        pipeline = self._pipeline.with_encoder(served)
        try:
            for batch in self._share():
                n = len(batch.indices)
                for outcomes in run_by_batch(pipeline, batch.indices, n, BATCH_BYTES):
                    connection.send([(index, _portable(outcome)) for index, outcome in outcomes])
            connection.send(None)
        except BaseException as error:
            connection.send(_portable(error))

    def _share(self) -> Iterator[Batch]:
        """Yield batches that no other process has taken."""
        while self._is_any_left():
            batch = self._take()
            if batch:
                yield batch
                self._release(batch)
            else:
                time.sleep(SECONDS_BETWEEN_TRIES)

    def _is_any_left(self) -> bool:
        n_taken: int = self._n_long_taken.value + self._n_short_taken.value
        return n_taken < len(self._long) + len(self._short)

    def _take(self) -> Batch | None:
        """Take a long recording if memory allows, or else a usual batch, if there are any."""
        with self._lock:
            n_long, n_short = int(self._n_long_taken.value), int(self._n_short_taken.value)
            if n_long < len(self._long):
                batch = self._long[n_long]
                others = int(self._long_seconds.value)
                if others == 0 or others + batch.long_seconds <= MAX_LONG_SECONDS:
                    self._n_long_taken.value += 1
                    self._long_seconds.value += batch.long_seconds
                    return batch
            if n_short < len(self._short):
                self._n_short_taken.value += 1
                return self._short[n_short]
            return None

    def _release(self, batch: Batch) -> None:
        """Let other processes use the memory of a batch that this process has finished."""
        if batch.long_seconds:
            with self._lock:
                self._long_seconds.value -= batch.long_seconds


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, even if that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _portable(outcome: Any) -> Any:
    """Return an outcome, or an exception in a form that can be sent to another process."""
    if not isinstance(outcome, BaseException):
        return outcome
    # Notes are sent and logged; a traceback is not sent.
    notes = getattr(outcome, "__notes__", None) or traceback.format_exception(outcome)
    try:
        portable = pickle.loads(pickle.dumps(outcome))
    except Exception:
        portable = _stand_in(outcome)
    portable.__notes__ = list(notes)
    return portable


def _stand_in(error: BaseException) -> Exception:
    """Return an exception that can be sent and is handled in the same way."""
    if isinstance(error, UtteranceError):
        return UtteranceError(str(error))
    if isinstance(error, XVectorsError):
        return XVectorsError(str(error))
    return RuntimeError(f"{type(error).__name__}: {error}")
