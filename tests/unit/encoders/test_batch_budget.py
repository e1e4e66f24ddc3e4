import pytest
import torch

from xvectors.encoders.batch_budget import BatchBudget


def run(budget, network, *lengths):
    signals = [torch.full((length * 160,), float(length)) for length in lengths]
    return [int(result) for result in budget.run(network, signals, lengths)]


class Network:
    """Returns the lengths of utterances, on a device with room for so many frames."""

    def __init__(self, room):
        self.room = room
        self.packs = []

    def __call__(self, pack):
        lengths = [len(signal) // 160 for signal in pack]
        if len(lengths) * lengths[-1] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.packs.append(lengths)
        return torch.tensor(lengths)


def test_similar_lengths_go_together_and_results_come_in_order():
    network = Network(10**6)
    lengths = [50, 3, 40, 4, 45, 5, 200]
    assert run(BatchBudget(100), network, *lengths) == lengths
    assert network.packs == [[3, 4, 5], [40, 45], [50], [200]]
    assert run(BatchBudget(100), network) == []


def test_out_of_memory_makes_packs_smaller_for_good(caplog):
    budget, network = BatchBudget(1000), Network(room=120)
    lengths = [10] * 50 + [20] * 10
    assert run(budget, network, *lengths) == lengths
    assert budget.limit == 125
    assert len(caplog.records) == 2
    assert "out of memory: going on with" in caplog.text
    caplog.clear()
    assert run(budget, network, *lengths) == lengths
    assert not caplog.records


def test_an_utterance_that_alone_is_too_much():
    with pytest.raises(torch.OutOfMemoryError):
        run(BatchBudget(1000), Network(room=120), 10, 10, 200)
