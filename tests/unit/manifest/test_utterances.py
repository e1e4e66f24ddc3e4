import pytest

from xvectors.errors import ManifestError
from xvectors.manifest.utterances import LazyColumn, Utterances, UtterancesOfSpeakers

LINES = ["a\ta.wav\t\ts1\n", "\n", "b\tb.wav\t\ts2\n", "c\tc.wav\t\ts1\tseconds=2\n"]


@pytest.fixture
def utterances(tmp_path) -> Utterances:
    (tmp_path / "train.tsv").write_text("".join(LINES))
    return Utterances(tmp_path / "train.tsv")


def test_they_are_a_sequence(utterances):
    assert len(utterances) == 3
    assert [utterance.utt_id for utterance in utterances] == ["a", "b", "c"]
    assert utterances[-1].seconds == 2
    assert [utterance.utt_id for utterance in utterances[::2]] == ["a", "c"]
    assert [utterance.utt_id for utterance in utterances.at([2, 0])] == ["c", "a"]
    with pytest.raises(IndexError):
        utterances[3]


def test_a_manifest_that_changes_meanwhile_is_not_read_on(utterances):
    found = iter(utterances)
    assert next(found).utt_id == "a"
    utterances.path.write_text("".join(reversed(LINES)) + "more")
    with pytest.raises(ManifestError, match=r"changed while it was read\. Rerun the same command"):
        list(utterances)
    with pytest.raises(ManifestError, match=r"changed while it was read"):
        list(found)


def test_a_line_asked_for_again_is_not_read_again(utterances):
    first = utterances[0]
    utterances.path.unlink()
    assert utterances[0] is first


def test_a_column_is_made_when_it_is_asked_for(utterances):
    asked = []
    column = LazyColumn(utterances, lambda one: asked.append(one.utt_id) or one.utt_id.upper())
    assert (len(column), asked) == (3, [])
    assert column[1] == "B"
    assert asked == ["b"]
    assert column[1:] == ["B", "C"]
    assert list(column) == ["A", "B", "C"]


def test_utterances_of_speakers(utterances):
    speakers = UtterancesOfSpeakers(utterances)
    assert dict(speakers) == {"s1": ["a", "c"], "s2": ["b"]}
    assert len(speakers) == 2
    assert "s3" not in speakers
