from collections import Counter

import pytest

from tests.support.made_split import make_rows
from xvectors.report.sampling import add_up, sample_rows
from xvectors.results.tables import EmbeddedRow


def sample(speakers: list[str], limit: int) -> list[EmbeddedRow]:
    return sample_rows(iter(make_rows(speakers)), Counter(speakers), limit)


def sizes(rows: list[EmbeddedRow]) -> Counter[str]:
    return Counter(row.speaker_id for row in rows)


def test_totals():
    rows = make_rows(["b", "a", "b"])
    totals = add_up(iter(rows))
    assert totals.n_utterances == {"a": 1, "b": 2}
    assert list(totals.seconds) == [1.0, 2.0, 3.0]
    assert (totals.shortest, totals.longest) == (rows[0], rows[2])
    assert add_up([]).shortest is None


def test_what_is_within_the_limit_is_all_there_by_speaker():
    rows = sample(["b", "a", "b", "a", "c"], 5)
    assert [row.utt_id for row in rows] == [f"utt0000{i}" for i in (1, 3, 0, 2, 4)]


def test_speakers_share_the_limit_and_what_small_ones_leave():
    speakers = ["small"] * 10 + ["large"] * 500 + ["larger"] * 900
    assert sizes(sample(speakers, 110)) == {"small": 10, "large": 50, "larger": 50}


def test_of_many_speakers_some_are_left_out_first_the_lonely_ones():
    many = [f"s{i}" for i in range(50) for _ in range(30)]
    lonely = [f"lonely{i}" for i in range(5000)]
    found = sizes(sample(lonely + many, 100))
    assert len(found) == 5
    assert set(found.values()) == {20}
    assert not any(name.startswith("lonely") for name in found)


def test_lonely_speakers_fill_what_is_left():
    found = sizes(sample(["a", "a", "b", "c", "d"], 4))
    assert found["a"] == 2
    assert found.total() == 4


def test_the_sample_does_not_depend_on_the_order_and_hardly_on_more_lines():
    rows = make_rows(["a"] * 400 + ["b"] * 400)
    n_utterances = {"a": 400, "b": 400}
    first = {row.utt_id for row in sample_rows(rows, n_utterances, 100)}
    turned = {row.utt_id for row in sample_rows(rows[::-1], n_utterances, 100)}
    assert first == turned
    grown = [*rows, EmbeddedRow("new", "a", "", 1.0)]
    then = {row.utt_id for row in sample_rows(grown, {"a": 401, "b": 400}, 100)}
    assert len(first & then) >= 99


@pytest.mark.parametrize("limit", [1, 7, 25])
def test_the_limit_holds(limit: int):
    assert len(sample(["a"] * 30 + ["b"] * 3 + ["c"], limit)) == limit


def test_no_utterance():
    assert sample([], 10) == []
