import pytest

from xvectors.manifest.lines import parse_line
from xvectors.manifest.oddities import Oddities, hint_at_other_format, is_header, plain_name


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"utt_id\twav_path\ttext\tspeaker_id", True),
        (b"ID\tfile", True),
        (b"utt_id\ta.wav\ttext\ts1", False),
        (b"a\tpath\ttext\ts1", False),
        (b"utt_id", False),
    ],
)
def test_a_header_names_the_first_two_columns(line, expected):
    assert is_header(line) == expected


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"a,a.wav,text,s1", "separated by commas"),
        (b"a|a.wav|text|s1", "separated by bars"),
        (b"\xff\xfea\x00", "is UTF-16"),
        (b'{"audio_filepath": "a.wav"}', "is JSON"),
        (b"a\tb\tc\t", None),
        (b"a.wav", None),
    ],
)
def test_what_the_first_line_says_of_the_file(line, kind):
    found = hint_at_other_format(line)
    assert found is None if kind is None else kind in str(found)


def test_names_are_compared_without_outer_spaces_and_composed():
    assert plain_name(" anna ") == "anna"
    assert plain_name("jose\u0301") == "jos\xe9"


def test_oddities_are_told_with_their_lines(tmp_path):
    path = tmp_path / "train.tsv"
    lines = [b"a\ta.wav\ttext\tanna", b"b\tb.wav\ttext\tanna ", b"c\tc.wav\tone\ttwo\tanna"]
    path.write_bytes(b"\n".join(lines))
    oddities = Oddities()
    for number, line in enumerate(lines, start=1):
        oddities.collect(number, line, parse_line(line))
    stray, alike = oddities.warnings(path)
    assert stray.startswith(f"{path}: 1 of 3 lines have a fifth column without name=value (line 3)")
    assert alike.startswith(f"{path}: speakers 'anna', 'anna ' look the same")
    assert Oddities().warnings(path) == []
