"""The size of batches, adapted to the device's memory."""

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence

import torch

from xvectors.encoders.device import free_unused_memory, is_mostly_free, is_out_of_memory
from xvectors.errors import UtteranceError

logger = logging.getLogger(__name__)

# After this many batches without running out of memory, both limits are doubled.
BATCHES_BEFORE_GROWING = 50


class BatchBudget:
    """Divides utterances into batches, and makes them smaller when memory runs out.

    The cost of a batch is its number of utterances times the length of its longest. Lengths and
    costs are in the encoder's unit, for example frames or samples.

    Attributes:
        limit: Highest cost of a batch at present. A single utterance may exceed it.
        longest: Greatest length of an utterance that is embedded as a whole. It applies to
            encoders that can process longer ones in pieces.

    """

    def __init__(
        self,
        limit: int,
        device: torch.device,
        longest: float = math.inf,
        *,
        most: int | None = None,
        most_longest: float | None = None,
    ) -> None:
        """Set the limits at first, and the highest that they may reach, by default the same."""
        self.limit = limit
        self.longest = longest
        self._most = limit if most is None else most
        self._most_longest = longest if most_longest is None else most_longest
        self._device = device
        self._n_good = 0

    def run(
        self,
        network: Callable[[list[torch.Tensor]], torch.Tensor],
        signals: Sequence[torch.Tensor],
        lengths: Sequence[int],
        in_pieces: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> list[torch.Tensor]:
        """Apply a network to batches of utterances of similar length.

        Args:
            network: Maps a batch of signals to a tensor with a row for each.
            signals: One per utterance.
            lengths: The length of each signal in the unit of `limit`.
            in_pieces: Maps a signal of any length to its row, using less memory.

        Returns:
            The results in the order of `signals`.

        Raises:
            UtteranceError: A single utterance is too long for a device that is otherwise free.
            torch.OutOfMemoryError: It is too long for a device that other processes use, too.

        """
        waiting = deque(sorted(range(len(signals)), key=lambda i: lengths[i]))
        results: dict[int, torch.Tensor] = {}
        while waiting:
            longest = self.longest if in_pieces else math.inf
            batch = self._take(waiting, lengths, longest)
            cost = len(batch) * lengths[batch[-1]]
            problem = None
            try:
                if in_pieces and lengths[batch[0]] > longest:
                    cost = 0
                    results[batch[0]] = in_pieces(signals[batch[0]])
                else:
                    found = network([signals[i] for i in batch])
                    results.update(zip(batch, found, strict=True))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                # The traceback keeps the failed batch in memory.
                problem = error.with_traceback(None)
            if problem is None:
                self._grow(cost)
            else:
                waiting.extendleft(reversed(batch))
                self._shrink(len(batch), lengths[batch[-1]], in_pieces is not None, problem)
        return [results[i] for i in range(len(signals))]

    def _take(self, waiting: deque[int], lengths: Sequence[int], longest: float) -> list[int]:
        """Return the next batch: as many as the limit allows, or a single longer one."""
        batch = [waiting.popleft()]
        while waiting and lengths[waiting[0]] <= longest:
            if (len(batch) + 1) * lengths[waiting[0]] > self.limit:
                break
            batch.append(waiting.popleft())
        return batch

    def _grow(self, cost: int) -> None:
        """Count a batch that fitted into memory, and raise the limits after enough of them.

        A signal that went through in pieces has a cost of 0.
        """
        self._n_good += 1
        if self._n_good == BATCHES_BEFORE_GROWING:
            self._n_good = 0
            self.limit = min(2 * max(self.limit, cost), self._most)
            self.longest = min(2 * self.longest, self._most_longest)

    def _shrink(self, n: int, length: int, has_pieces: bool, problem: RuntimeError) -> None:
        """Allow fewer than `n` utterances of this length; if none are left, raise the problem."""
        free_unused_memory(self._device)
        self._n_good = 0
        if n > 1:
            self.limit = min(self.limit, n * length) // 2
            share = self.limit / self._most
            logger.warning(
                "out of memory: continuing with batches of %.1f %% the size", 100 * share
            )
        elif has_pieces and length <= self.longest:
            self.longest = length - 1
        elif isinstance(problem, torch.OutOfMemoryError) and is_mostly_free(self._device):
            raise UtteranceError("too long for the memory of this GPU") from problem
        else:
            raise problem
