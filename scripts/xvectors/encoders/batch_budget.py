"""How much goes through a network at a time, by the device's memory."""

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence

import torch

from xvectors.encoders.device import free_unused_memory, is_mostly_free, is_out_of_memory
from xvectors.errors import UtteranceError

logger = logging.getLogger(__name__)

# After so many batches without running out of memory, twice as much is tried again.
BATCHES_BEFORE_GROWING = 50


class BatchBudget:
    """Divides utterances among batches, and makes these smaller when memory runs out.

    A batch costs what it takes padded to its longest: its number of utterances times that. Lengths
    and costs are in whatever unit an encoder likes, frames or samples.

    Attributes:
        limit: What batches may cost now; a single utterance goes through however long it is.
        longest: The length up to which an utterance goes through as a whole, where an encoder can
            do longer ones in pieces.

    """

    def __init__(self, limit: int, device: torch.device, longest: float = math.inf) -> None:
        """Allow batches that cost `limit`, in the memory of a device."""
        self.limit = self._most = limit
        self.longest = longest
        self._device = device
        self._n_good = 0

    def run(
        self,
        network: Callable[[list[torch.Tensor]], torch.Tensor],
        signals: Sequence[torch.Tensor],
        lengths: Sequence[int],
        in_pieces: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> list[torch.Tensor]:
        """Apply a network to batch after batch, utterances of similar length together.

        Args:
            network: Maps a batch of signals to a tensor with a row for each.
            signals: Of an utterance each.
            lengths: What counts as the length of each signal.
            in_pieces: Maps a signal to its row in less memory, whatever the signal's length.

        Returns:
            The results in the order of `signals`.

        Raises:
            UtteranceError: A single utterance is too much for a device that is free otherwise.
            torch.OutOfMemoryError: It is too much for a device that others use too.

        """
        waiting = deque(sorted(range(len(signals)), key=lambda i: lengths[i]))
        results: dict[int, torch.Tensor] = {}
        while waiting:
            longest = self.longest if in_pieces else math.inf
            batch = self._take(waiting, lengths, longest)
            problem = None
            try:
                if in_pieces and lengths[batch[0]] > longest:
                    results[batch[0]] = in_pieces(signals[batch[0]])
                else:
                    found = network([signals[i] for i in batch])
                    results.update(zip(batch, found, strict=True))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                # What the failed batch has in memory hangs on the traceback.
                problem = error.with_traceback(None)
            if problem is None:
                self._grow()
            else:
                waiting.extendleft(reversed(batch))
                self._shrink(len(batch), lengths[batch[-1]], in_pieces is not None, problem)
        return [results[i] for i in range(len(signals))]

    def _take(self, waiting: deque[int], lengths: Sequence[int], longest: float) -> list[int]:
        """Return the next batch: as many as the limit allows, or one that is too long."""
        batch = [waiting.popleft()]
        while waiting and lengths[waiting[0]] <= longest:
            if (len(batch) + 1) * lengths[waiting[0]] > self.limit:
                break
            batch.append(waiting.popleft())
        return batch

    def _grow(self) -> None:
        """Count a batch that went well."""
        self._n_good += 1
        if self._n_good == BATCHES_BEFORE_GROWING:
            self._n_good = 0
            self.limit = min(2 * self.limit, self._most)

    def _shrink(self, n: int, length: int, has_pieces: bool, problem: RuntimeError) -> None:
        """Allow less than `n` utterances of a length, or raise the problem if there is no less."""
        free_unused_memory(self._device)
        self._n_good = 0
        if n > 1:
            self.limit = min(self.limit, n * length) // 2
            share = self.limit / self._most
            logger.warning("out of memory: going on with batches of %.1f %% the size", 100 * share)
        elif has_pieces and length <= self.longest:
            self.longest = length - 1
        elif isinstance(problem, torch.OutOfMemoryError) and is_mostly_free(self._device):
            raise UtteranceError("too long for the memory of this GPU") from problem
        else:
            raise problem
