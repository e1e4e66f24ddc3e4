import pytest

from xvectors.errors import TrialsError
from xvectors.verification.trials import read_trials


def test_all_wrong_lines_are_named(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("1 a b\nyes a b\n0 a\n0 a b c\n")
    with pytest.raises(TrialsError) as caught:
        read_trials(path)
    assert str(caught.value).splitlines() == [
        f"{path}:2: label 'yes' is none of 1, 0, target, nontarget",
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
