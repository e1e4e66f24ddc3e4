import math

import pytest
import torch

from xvectors.encoders import batch_budget
from xvectors.encoders.batch_budget import BATCHES_BEFORE_GROWING, BatchBudget
from xvectors.errors import UtteranceError

CPU = torch.device("cpu")


def run(budget, network, *lengths, in_pieces=None):
    signals = [torch.full((length * 160,), float(length)) for length in lengths]
    return [int(result) for result in budget.run(network, signals, lengths, in_pieces)]


class Network:
    """Returns the lengths of utterances, on a device with room for so many frames."""

    def __init__(self, room, error=None):
        self.room = room
        self.error = error or torch.OutOfMemoryError("CUDA out of memory")
        self.batches = []

    def __call__(self, batch):
        lengths = [len(signal) // 160 for signal in batch]
        if len(lengths) * lengths[-1] > self.room:
            raise self.error
        self.batches.append(lengths)
        return torch.tensor(lengths)

    def in_pieces(self, signal):
        self.batches.append(f"pieces of {len(signal) // 160}")
        return torch.tensor(len(signal) // 160)


def test_similar_lengths_go_together_and_results_come_in_order():
    network = Network(10**6)
    lengths = [50, 3, 40, 4, 45, 5, 200]
    assert run(BatchBudget(100, CPU), network, *lengths) == lengths
    assert network.batches == [[3, 4, 5], [40, 45], [50], [200]]
    assert run(BatchBudget(100, CPU), network) == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("cuFFT error: CUFFT_INTERNAL_ERROR"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
    ],
)
def test_out_of_memory_makes_batches_smaller(caplog, error):
    budget, network = BatchBudget(1000, CPU), Network(120, error)
    lengths = [10] * 50 + [20] * 10
    assert run(budget, network, *lengths) == lengths
    assert budget.limit == 125
    assert "out of memory: continuing with batches of 12.5 % the size" in caplog.text
    assert len(caplog.records) == 2
    caplog.clear()
    assert run(budget, network, *lengths) == lengths
    assert not caplog.records


def test_in_time_larger_batches_are_tried_again():
    budget = BatchBudget(1000, CPU)
    assert run(budget, Network(120), 10, 10, *[20] * 40)
    assert budget.limit < 250
    roomy = Network(10**6)
    run(budget, roomy, *[1000] * 4 * BATCHES_BEFORE_GROWING)
    assert budget.limit == 1000
    run(budget, roomy, *[1000] * BATCHES_BEFORE_GROWING)
    assert budget.limit == 1000


def test_a_budget_that_starts_at_nothing_grows():
    """As on a GPU that others use when the encoder is loaded."""
    budget = BatchBudget(0, CPU, longest=30, most=1000, most_longest=200)
    network = Network(10**6)
    lengths = [10] * 400 + [150]
    assert run(budget, network, *lengths, in_pieces=network.in_pieces) == lengths
    sizes = [len(batch) for batch in network.batches]
    assert sizes[:101:50] == [1, 2, 4]
    assert (budget.limit, budget.longest, network.batches[-1]) == (80, 200, [150])
    run(budget, network, *[1000] * 4 * BATCHES_BEFORE_GROWING)
    assert (budget.limit, budget.longest) == (1000, 200)


def test_pieces_do_not_make_batches_larger():
    budget = BatchBudget(10, CPU, longest=50, most=1000)
    run(budget, Network(10), *[100] * BATCHES_BEFORE_GROWING, in_pieces=Network(10).in_pieces)
    assert budget.limit == 20


def test_a_failed_small_batch_allows_less_than_itself():
    budget, network = BatchBudget(1000, CPU), Network(room=15)
    assert run(budget, network, 10, 10) == [10, 10]
    assert budget.limit == 10


def test_long_ones_go_through_in_pieces():
    budget, network = BatchBudget(1000, CPU, longest=100), Network(10**6)
    assert run(budget, network, 150, 100, 7, in_pieces=network.in_pieces) == [150, 100, 7]
    assert network.batches == [[7, 100], "pieces of 150"]
    network.batches.clear()
    assert run(budget, network, 150, 100, 7) == [150, 100, 7]
    assert network.batches == [[7, 100, 150]]


def test_what_alone_is_too_much_goes_through_in_pieces_from_then_on():
    budget, network = BatchBudget(1000, CPU), Network(room=120)
    assert budget.longest == math.inf
    lengths = [200, 90, 130]
    assert run(budget, network, *lengths, in_pieces=network.in_pieces) == lengths
    assert network.batches == [[90], "pieces of 130", "pieces of 200"]
    assert budget.longest == 129


def test_an_utterance_that_alone_is_too_much_for_a_free_gpu():
    with pytest.raises(UtteranceError, match="too long for the memory of this GPU"):
        run(BatchBudget(1000, CPU), Network(room=120), 10, 10, 200)


def test_on_a_gpu_that_others_use_no_utterance_is_blamed(monkeypatch):
    monkeypatch.setattr(batch_budget, "is_mostly_free", lambda device: False)
    with pytest.raises(torch.OutOfMemoryError):
        run(BatchBudget(1000, CPU), Network(room=120), 10, 10, 200)


def test_a_gpu_out_of_order_blames_no_utterance():
    broken = Network(0, RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"))
    with pytest.raises(RuntimeError, match="EXECUTION_FAILED"):
        run(BatchBudget(1000, CPU), broken, 10, 10)


def test_other_errors_are_not_of_memory():
    budget = BatchBudget(1000, CPU)
    with pytest.raises(RuntimeError, match="wrong shape"):
        run(budget, Network(0, RuntimeError("wrong shape")), 10, 10)
    assert budget.limit == 1000
