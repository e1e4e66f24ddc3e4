"""How much goes through a network at a time, by the device's memory."""

import logging
from collections import deque
from collections.abc import Callable, Sequence

import torch

logger = logging.getLogger(__name__)


class BatchBudget:
    """Divides utterances among packs, and makes these smaller when memory runs out.

    A pack costs what it takes padded to its longest: its number of utterances times that.
    """

    def __init__(self, n_frames: int) -> None:
        """Allow packs of `n_frames`, and of one utterance, however long that is."""
        self.n_frames = n_frames

    def run(
        self,
        function: Callable[[list[torch.Tensor]], torch.Tensor],
        signals: Sequence[torch.Tensor],
        n_frames: Sequence[int],
    ) -> list[torch.Tensor]:
        """Apply `function` to pack after pack, utterances of similar length together.

        Args:
            function: Maps a pack of signals to a tensor with a row for each.
            signals: Of an utterance each.
            n_frames: The frames that each signal makes.

        Returns:
            The results in the order of `signals`.

        Raises:
            torch.OutOfMemoryError: Even a single utterance is too much.

        """
        waiting = deque(sorted(range(len(signals)), key=lambda i: n_frames[i]))
        results: dict[int, torch.Tensor] = {}
        while waiting:
            pack = self._take(waiting, n_frames)
            try:
                results.update(zip(pack, function([signals[i] for i in pack]), strict=True))
            except torch.OutOfMemoryError:
                if len(pack) == 1:
                    raise
                self.n_frames = len(pack) * n_frames[pack[-1]] // 2
                logger.warning("out of memory: going on with %d frames at a time", self.n_frames)
                waiting.extendleft(reversed(pack))
        return [results[i] for i in range(len(signals))]

    def _take(self, waiting: deque[int], n_frames: Sequence[int]) -> list[int]:
        pack = [waiting.popleft()]
        while waiting and (len(pack) + 1) * n_frames[waiting[0]] <= self.n_frames:
            pack.append(waiting.popleft())
        return pack
