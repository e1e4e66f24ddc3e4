import numpy as np
import pytest

from xvectors.audio import recording
from xvectors.audio.recording import Recording, join, mix


class Counting(Recording):
    """A recording of the numbers 0, 1, 2, ... that can only be read forwards."""

    def __init__(self, n_samples: int) -> None:
        self.path, self.rate, self.n_samples = "counting", 4, n_samples
        self.place, self.is_closed = 0, False

    def read(self, n_samples):
        first, self.place = self.place, min(self.place + n_samples, self.n_samples)
        return np.arange(first, self.place, dtype=np.float32)

    def close(self):
        self.is_closed = True


@pytest.mark.parametrize("block", [1, 3, 100])
def test_it_goes_to_a_sample_by_reading(monkeypatch, block):
    monkeypatch.setattr(recording, "BLOCK_NUMBERS", block)
    with Counting(10) as counting:
        counting.go_to(7)
        assert counting.read(2).tolist() == [7, 8]
    assert counting.is_closed


def test_going_beyond_the_end_ends_there():
    counting = Counting(10)
    counting.go_to(1000)
    assert len(counting.read(5)) == 0


def test_seconds_are_those_of_the_header():
    assert Counting(10).seconds == 2.5


def test_channels_are_averaged():
    mono = np.array([[1], [2]], dtype=np.float32)
    assert mix(mono).tolist() == [1, 2]
    stereo = np.array([[1, 3], [-1, 1]], dtype=np.float32)
    assert mix(stereo).tolist() == [2, 0]
    assert mix(stereo).dtype == np.float32
    # Found later, and no warning here.
    assert np.isnan(mix(np.array([[np.inf, -np.inf]], dtype=np.float32)))[0]


def test_the_first_channel():
    stereo = np.array([[1, np.inf], [-1, 1]], dtype=np.float32)
    assert mix(stereo, "first").tolist() == [1, -1]
    # It does not keep the others in memory.
    assert mix(stereo, "first").base is None
    assert mix(stereo[:, :1], "first").tolist() == [1, -1]


def test_parts_are_joined_and_a_single_one_is_not_copied():
    one = np.ones(3, dtype=np.float32)
    assert join([one]) is one
    assert join([one, 2 * one]).tolist() == [1, 1, 1, 2, 2, 2]
    assert join([]).shape == (0,)
