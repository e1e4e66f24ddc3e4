import pytest

from xvectors.corpora.fields import Fields


def test_the_usual_fields_and_given_ones():
    values = {"_id": 7, "speaker": "s", "text": "words", "duration": 1.5, "who": "w", "json": {}}
    entry = Fields.of(None, None, None).entry("place", "a.wav", values, "default")
    assert entry == ("place", "7", "a.wav", "words", "s", 1.5, None)
    entry = Fields.of("json", "who", "none").entry("place", "a.wav", values, "default")
    assert entry == ("place", "default", "a.wav", "", "w", 1.5, None)


@pytest.mark.parametrize("seconds", [None, 0, -1, "x", float("nan"), float("inf")])
def test_seconds_that_are_none(seconds):
    entry = Fields.of(None, None, None).entry("place", "a.wav", {"duration": seconds}, "a")
    assert entry.seconds is None
    assert entry.speaker_id == "a"
