import pytest

from xvectors.audio.containers import ByteRange, TableRow, find_member, parse_member


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("a.ark:12", ByteRange("a.ark", 12)),
        ("/x/a b.tar:512+1000", ByteRange("/x/a b.tar", 512, 1000)),
        ("a:7:12+3", ByteRange("a:7", 12, 3)),
        ("x/t.parquet:audio[12]", TableRow("x/t.parquet", "audio", 12)),
        ("t.parquet:my audio.wav[0]", TableRow("t.parquet", "my audio.wav", 0)),
    ],
)
def test_names_of_members(path, member):
    assert parse_member(path) == member
    assert str(member) == path


@pytest.mark.parametrize(
    "path",
    [
        "a.wav",
        "a_01",
        ":12",
        "x/:12",
        "a.ark:",
        "a.ark:+3",
        "a.ark:1+",
        "a.ark:-1",
        "a.ark:1.wav",
        "a.ark:12[0:3]",
        "t.parquet:[3]",
        "t.parquet:a/b[3]",
        "a.ark:" + "9" * 5000,
        "a.ark:\N{ARABIC-INDIC DIGIT ONE}",
    ],
)
def test_other_paths(path):
    assert parse_member(path) is None


def test_a_file_of_that_name_comes_first(tmp_path):
    path = str(tmp_path / "call 10:20")
    assert find_member(path) == ByteRange(str(tmp_path / "call 10"), 20)
    (tmp_path / "call 10:20").touch()
    assert find_member(path) is None
