import pytest

from tests.support.made_split import make_split, make_voices
from xvectors.config.layout import Layout
from xvectors.errors import TrialsError
from xvectors.results.tables import ExcludedRow, write_excluded
from xvectors.verification.trials import (
    check_trials,
    find_utterances,
    has_labels,
    read_trials,
    utt_id_of,
)


def test_all_wrong_lines_are_named(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("1 a b\nyes a b\n0 a\n0 a b c\n")
    with pytest.raises(TrialsError) as caught:
        read_trials(path)
    assert str(caught.value).splitlines() == [
        f"{path}:2: label 'yes' is not one of 1, 0, target, nontarget",
        f"{path}:3: 2 fields, not label, utt1 and utt2",
        f"{path}:4: 4 fields, not label, utt1 and utt2",
    ]
    path.write_text("5 a b\n" * 100)
    with pytest.raises(TrialsError) as caught:
        read_trials(path)
    assert len(str(caught.value).splitlines()) == 21
    assert str(caught.value).endswith("and 80 more")


@pytest.mark.parametrize("content", ["", "1 a b\n1 a c\n"])
def test_both_kinds_are_needed(tmp_path, content):
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(TrialsError, match="needs trials of both kinds"):
        read_trials(tmp_path / "list.txt")


@pytest.mark.parametrize("content", [b"1 \xff b\n0 a b\n", None])
def test_a_list_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(TrialsError, match=r"list\.txt: cannot be read"):
        read_trials(tmp_path / "list.txt")


def test_a_list_in_kaldis_order(tmp_path):
    (tmp_path / "list.txt").write_text("\ufeffa b target\na c nontarget\n", encoding="utf-8")
    assert [trial[:3] for trial in read_trials(tmp_path / "list.txt")] == [
        (True, "a", "b"),
        (False, "a", "c"),
    ]


NAMES = ["id1-a-00001", "id2-b-00002", "plain"]


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("".join(f"{name}\t{name}.wav\t\t{name[:3]}\n" for name in NAMES))
    return path


def listed(tmp_path, *lines):
    path = tmp_path / "trials.txt"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    "name",
    [
        "id1-a-00001",
        "id1/a/00001.wav",
        "./id1/a/00001.wav",
        "wav/id1/a/00001.wav",
        "test/./wav/id1/a/00001.flac",
        "id1-a-00001.wav",
    ],
)
def test_names_as_lists_spell_them(tmp_path, manifest, name):
    check_trials([listed(tmp_path, f"1 {name} plain", "0 plain id2-b-00002")], [manifest])


def test_the_label_may_come_last(tmp_path):
    path = listed(tmp_path, "a b 1", "a c nontarget", "1 a d")
    assert [(one.is_target, one.utt1, one.utt2) for one in read_trials(path)] == [
        (True, "a", "b"),
        (False, "a", "c"),
        (True, "a", "d"),
    ]


def test_a_list_without_labels(tmp_path, manifest):
    path = listed(tmp_path, "id1/a/00001.wav plain", "", "plain id2-b-00002", "plain plain")
    trials = read_trials(path)
    assert [tuple(trial) for trial in trials] == [
        (None, "id1-a-00001", "plain", 1),
        (None, "plain", "id2-b-00002", 3),
        (None, "plain", "plain", 4),
    ]
    assert not has_labels(trials)
    check_trials([path], [manifest])
    path = listed(tmp_path, "plain id9-b-00002")
    with pytest.raises(TrialsError, match="id9-b-00002 is in no split's manifest; the most sim"):
        check_trials([path], [manifest])


def test_a_list_with_some_labels(tmp_path):
    path = listed(tmp_path, "a b", "1 a c", "a")
    with pytest.raises(TrialsError) as error:
        read_trials(path)
    assert str(error.value).splitlines() == [
        f"{path}:{line}: {n} fields, not utt1 and utt2 as in the first line. Give all lines a "
        "label or none"
        for line, n in ((2, 3), (3, 1))
    ]


def test_an_unknown_name_is_refused_with_the_nearest_utterance(tmp_path, manifest):
    path = listed(tmp_path, "1 id1/a/0001.wav plain", "0 plain nobody", "0 nobody plain")
    with pytest.raises(TrialsError) as error:
        check_trials([path], [manifest])
    assert str(error.value).splitlines() == [
        f"{path}:1: id1-a-0001 is in no split's manifest; the most similar utterance is "
        "id1-a-00001",
        f"{path}:2: nobody is in no split's manifest",
    ]


def test_an_utterance_of_two_splits_is_refused_before_any_job(tmp_path, manifest):
    other = tmp_path / "valid.tsv"
    other.write_text("plain\tother.wav\t\ts\n")
    path = listed(tmp_path, "1 id1/a/00001.wav plain", "0 plain id2/b/00002.wav")
    with pytest.raises(TrialsError) as error:
        check_trials([path], [manifest, other])
    assert str(error.value) == f"{path}:1: plain is in two splits"


def test_an_utterance_of_another_folder_is_not_taken_for_it(tmp_path, manifest):
    path = listed(tmp_path, "1 id3/id1/a/00001.wav plain", "0 plain id2/b/00002.wav")
    with pytest.raises(TrialsError, match="id3-id1-a-00001 is in no split's manifest"):
        check_trials([path], [manifest])


def test_contradictory_labels_of_a_pair_are_named(tmp_path):
    path = listed(tmp_path, "1 a b", "0 a c", "1 a b", "0 b a")
    with pytest.raises(TrialsError) as error:
        read_trials(path)
    assert str(error.value) == f"{path}:4: b and a have another label on line 1"


def test_paths_become_utt_ids():
    assert utt_id_of("./a//b.wav") == "a-b"
    assert utt_id_of("/") == "-"


def test_trials_of_excluded_utterances_are_left_out(tmp_path, caplog):
    config = make_split(tmp_path, *make_voices(2, 2), min_seconds=1)
    layout = Layout.of(config)
    path = listed(tmp_path, "1 utt00000 utt00001", "0 utt00000 utt00002", "0 utt00000 short")
    with pytest.raises(TrialsError, match="short is in no split's manifest"):
        find_utterances(path, read_trials(path), layout, ["train"])
    write_excluded(layout.excluded("train"), [ExcludedRow("short", "short.wav", 0.5)])
    trials, rows = find_utterances(path, read_trials(path), layout, ["train"])
    assert len(trials) == 2
    assert sorted(rows) == ["utt00000", "utt00001", "utt00002"]
    assert "left out 1 trials whose utterances were not embedded" in caplog.text
