"""How much goes through a network at a time, by the device's memory."""

import logging
from collections import deque
from collections.abc import Callable, Sequence

import torch

logger = logging.getLogger(__name__)


class BatchBudget:
    """Divides utterances among batches, and makes these smaller when memory runs out.

    A batch costs what it takes padded to its longest: its number of utterances times that. Lengths
    and costs are in whatever unit an encoder likes, frames or samples.
    """

    def __init__(self, limit: int) -> None:
        """Allow batches that cost `limit`, and of one utterance, however long that is."""
        self.limit = limit

    def run(
        self,
        function: Callable[[list[torch.Tensor]], torch.Tensor],
        signals: Sequence[torch.Tensor],
        lengths: Sequence[int],
    ) -> list[torch.Tensor]:
        """Apply `function` to batch after batch, utterances of similar length together.

        Args:
            function: Maps a batch of signals to a tensor with a row for each.
            signals: Of an utterance each.
            lengths: What counts as the length of each signal.

        Returns:
            The results in the order of `signals`.

        Raises:
            torch.OutOfMemoryError: Even a single utterance is too much.

        """
        waiting = deque(sorted(range(len(signals)), key=lambda i: lengths[i]))
        results: dict[int, torch.Tensor] = {}
        while waiting:
            batch = self._take(waiting, lengths)
            try:
                results.update(zip(batch, function([signals[i] for i in batch]), strict=True))
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                self.limit = len(batch) * lengths[batch[-1]] // 2
                logger.warning("out of memory: going on with batches of half the size")
                waiting.extendleft(reversed(batch))
        return [results[i] for i in range(len(signals))]

    def _take(self, waiting: deque[int], lengths: Sequence[int]) -> list[int]:
        batch = [waiting.popleft()]
        while waiting and (len(batch) + 1) * lengths[waiting[0]] <= self.limit:
            batch.append(waiting.popleft())
        return batch
