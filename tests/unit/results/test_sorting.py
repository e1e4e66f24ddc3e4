import random

import pytest

from xvectors.results import sorting
from xvectors.results.sorting import sorted_rows


@pytest.mark.parametrize("rows_at_a_time", [1, 7, 100, 1000])
def test_rows_come_in_the_order_of_their_bytes_whatever_fits(tmp_path, monkeypatch, rows_at_a_time):
    monkeypatch.setattr(sorting, "ROWS_AT_A_TIME", rows_at_a_time)
    # A field that begins like another, what sorts before a tab, and letters of many bytes.
    letters = ["a", "\x01", " ", "Z", "é", "\U0001f600", "\uffff"]
    numbers = random.Random(0)
    rows = [
        ["".join(numbers.choices(letters, k=numbers.randrange(3))) for _ in range(2)]
        for _ in range(100)
    ]
    found = list(sorted_rows(rows, tmp_path))
    assert found == sorted(rows, key=lambda row: [field.encode() for field in row])
    assert not list(tmp_path.iterdir())


def test_nothing_to_sort(tmp_path):
    assert list(sorted_rows([], tmp_path)) == []
