"""One encoder on a GPU for several processes that read and write.

A GPU embeds thousands of utterances per second. Threads of one process read and write about five
hundred, because Python lets one of them run at a time. So a job forks processes. Each of them
processes batches of the job's utterances, and the job itself embeds for all of them. The signals
are in memory that a process shares with the job.
"""

import ctypes
import logging
import mmap
import os
import pickle
import signal
import traceback
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray

from xvectors.audio.signal import Segment, Signal
from xvectors.encoders.device import copy_to_device
from xvectors.encoders.encoder import Encoder
from xvectors.errors import ShardError, UtteranceError, XVectorsError
from xvectors.tasks.pipeline import Pipeline, run_by_batch

logger = logging.getLogger(__name__)

# While the GPU computes for one thread, another one prepares the next batch.
N_SUBMITTERS = 2
# More were not tried on a GPU (docs/performance.md).
MAX_PROCESSES = 15
# The most bytes of a batch's signals, without its last one: fourteen minutes at 24 kHz.
BATCH_BYTES = 80 * 2**20
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Request(NamedTuple):
    """Signals to embed, one after the other in the shared memory: their lengths and rates."""

    lengths: list[int]
    rates: list[int]


class SharedSignals:
    """Memory for the signals of a batch, shared by a process and its parent."""

    def __init__(self) -> None:
        """Create it empty."""
        self._file = os.memfd_create("signals")
        self._map: mmap.mmap | None = None
        self._array: NDArray[numpy.float32] = numpy.empty(0, numpy.float32)

    def array(self, n_samples: int) -> NDArray[numpy.float32]:
        """Return an array of so many samples in it; enlarge it if necessary."""
        if n_samples > len(self._array):
            n_bytes = max(n_samples * self._array.itemsize, BATCH_BYTES)
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
    """The parent process' encoder as a forked process uses it."""

    def __init__(self, encoder: Encoder, connection: Connection, memory: SharedSignals) -> None:
        """Take the encoder, which is used here for reading only, and the ways to the parent."""
        self._encoder = encoder
        self._connection = connection
        self._memory = memory

    def read(self, path: str, segment: Segment | None = None) -> Signal:
        """Read a file as `Encoder.read` does."""
        return self._encoder.read(path, segment)

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the encoder, for instance its rate."""
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
    pipeline: Pipeline, indices: Sequence[int], batch_size: int, n_processes: int
) -> Generator[tuple[int, Any], None, None]:
    """Yield each index, in any order, with its outcome or its exception.

    Forked processes run the pipeline, and `pipeline.encoder` embeds for them here. An error of one
    index costs only that one, as in `run_threaded`. Close the generator to stop early.

    Args:
        pipeline: The pipeline; it has an `Encoder`.
        indices: The indices. Neighbours are computed together.
        batch_size: The most indices that are computed together.
        n_processes: The number of processes, at most one per batch and `MAX_PROCESSES`.

    Raises:
        ShardError: A process was killed.

    """
    server = _Server(pipeline.encoder)
    children = _Children(pipeline, indices, batch_size)
    submitters = ThreadPoolExecutor(N_SUBMITTERS)
    try:
        n_batches = -(-len(indices) // batch_size)
        for _ in range(min(max(n_processes, 1), n_batches, MAX_PROCESSES)):
            children.start()
        for child, message in children.messages():
            if isinstance(message, Request):
                submitters.submit(server.answer, child, message)
            elif isinstance(message, BaseException):
                raise message
            else:
                yield from message
    finally:
        submitters.shutdown(cancel_futures=True)
        children.stop()


class _Child(NamedTuple):
    """A forked process, with its connection and memory."""

    process: Any
    connection: Connection
    memory: SharedSignals


class _Server:
    """Answers requests, several at a time."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        # Copies to the GPU need not wait for earlier computations.
        self._copies: Any = None
        if encoder.device.type == "cuda":
            self._copies = torch.cuda.Stream(encoder.device)  # type: ignore[no-untyped-call]

    def answer(self, child: _Child, request: Request) -> None:
        """Send embeddings, float32, (signals, dim), or the exception that the encoder raises."""
        try:
            child.connection.send(self._embeddings(child.memory, request))
        except Exception:
            # It has ended, or it would wait for ever; `messages` raises the error.
            logger.debug("no answer for a process", exc_info=True)
            child.process.kill()

    def _embeddings(self, memory: SharedSignals, request: Request) -> Any:
        try:
            return self._encoder.embed(self._signals(memory, request)).numpy()
        except BaseException as error:
            return _portable(error)

    def _signals(self, memory: SharedSignals, request: Request) -> list[Signal]:
        """Return the signals of a request on the device."""
        samples = torch.from_numpy(memory.array(sum(request.lengths)))
        if self._copies:
            with torch.cuda.stream(self._copies):
                samples = copy_to_device(samples, self._encoder.device)
            stream = torch.cuda.current_stream(self._encoder.device)
            stream.wait_stream(self._copies)
            samples.record_stream(stream)
        parts = torch.split(samples, request.lengths)
        return [Signal(part, rate) for part, rate in zip(parts, request.rates, strict=True)]


class _Children:
    """Forked processes that take indices from one list, a batch at a time."""

    def __init__(self, pipeline: Pipeline, indices: Sequence[int], batch_size: int) -> None:
        self._pipeline = pipeline
        self._indices = indices
        self._batch_size = batch_size
        # Forked, because they need the objects of this process, and nothing of the GPU.
        self._context = get_context("fork")
        self._n_taken = self._context.Value("q", 0)
        self._parent = os.getpid()
        self._all: list[_Child] = []

    def start(self) -> None:
        """Start one more process."""
        here, there = self._context.Pipe()
        memory = SharedSignals()
        process = self._context.Process(target=self._go_through, args=(there, memory), daemon=True)
        process.start()
        there.close()
        self._all.append(_Child(process, here, memory))

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

    def _go_through(self, connection: Connection, memory: SharedSignals) -> None:
        """Process batches until none are left, in a forked process."""
        die_with(self._parent)
        # PyTorch's threads do not survive a fork, and there are enough processes.
        torch.set_num_threads(1)
        served = ServedEncoder(self._pipeline.encoder, connection, memory)
        pipeline = self._pipeline.with_encoder(served)
        try:
            for outcomes in run_by_batch(pipeline, self._share(), self._batch_size, BATCH_BYTES):
                connection.send([(index, _portable(outcome)) for index, outcome in outcomes])
            connection.send(None)
        except BaseException as error:
            connection.send(_portable(error))

    def _share(self) -> Iterator[int]:
        """Yield indices of the next batches that no process has taken."""
        while True:
            with self._n_taken.get_lock():
                start = self._n_taken.value
                self._n_taken.value += self._batch_size
            if start >= len(self._indices):
                return
            yield from self._indices[start : start + self._batch_size]


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
