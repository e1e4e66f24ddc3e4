from pathlib import Path

import pytest

from xvectors.audio.signal import Segment
from xvectors.errors import ManifestError
from xvectors.manifest.lines import Utterance
from xvectors.manifest.reading import locate_audio, read_manifest, read_manifest_once
from xvectors.manifest.utterances import Utterances


def write(folder: Path, content: bytes) -> Path:
    path = folder / "train.tsv"
    path.write_bytes(content)
    return path


def test_reads_lines_in_order_and_skips_blank_ones(tmp_path):
    path = write(tmp_path, b"b\tb.wav\ttext\ts1\n\n   \na\t/abs/a.wav\t\ts2\tseconds=1.5\tmore\n")
    assert list(read_manifest(path).utterances) == [
        Utterance("b", "b.wav", "s1", None),
        Utterance("a", "/abs/a.wav", "s2", 1.5),
    ]


def test_audio_lies_relative_to_the_manifest():
    assert locate_audio(Path("data/manifest/train.tsv"), "../wav/a.wav") == (
        "data/manifest/../wav/a.wav"
    )
    assert locate_audio(Path("data/train.tsv"), "/corpus/a.wav") == "/corpus/a.wav"


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbfa\ta.wav\ttext\ts1\r\nb\tb.wav\ttext\ts1")
    manifest = read_manifest(path)
    assert [utterance.utt_id for utterance in manifest.utterances] == ["a", "b"]
    assert manifest.utterances[0].speaker_id == "s1"


def test_a_line_separator_inside_text_ends_no_line(tmp_path):
    path = write(tmp_path, "a\ta.wav\tone\u2028two\ts1\n".encode())
    assert len(read_manifest(path).utterances) == 1


@pytest.mark.parametrize(
    "column", ["", "nan", "inf", "-1", "0", "en", "1.5", "16000", "second=1", "x seconds=1"]
)
def test_further_columns_that_are_not_for_us_are_passed_over(tmp_path, column):
    path = write(tmp_path, f"a\ta.wav\ttext\ts1\t{column}\n".encode())
    assert read_manifest(path).utterances[0].seconds is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a\ta.wav\ttext", "3 columns"),
        (b"\ta.wav\ttext\ts1", "an empty utt_id"),
        (b"\t\t\t", "an empty utt_id"),
        (b"x/y\ta.wav\ttext\ts1", "has a slash"),
        (b".a\ta.wav\ttext\ts1", "starts with a dot"),
        (b"a\x07\ta.wav\ttext\ts1", "has a control character"),
        ("a\x85\ta.wav\ttext\ts1".encode(), "has a control character"),
        (b"a" * 201 + b"\ta.wav\ttext\ts1", "longer than 200 bytes"),
        ("ä".encode() * 101 + b"\ta.wav\ttext\ts1", "longer than 200 bytes"),
        (b"a\ta.wav\t\xff\ts1", "not UTF-8"),
        (b"first\ta.wav\ttext\ts1", "repeated utt_id 'first', first on line 1"),
        (b"a\t\ttext\ts1", "an empty wav_path"),
        (b"a\ta.wav\ttext\ts1\tseconds=2,5", "'seconds=2,5' is not a time in seconds"),
        (b"a\ta.wav\ttext\ts1\tseconds=0", "seconds=0 is not a duration"),
        (b"a\ta.wav\ttext\ts1\tseconds=nan", "seconds=nan is not a duration"),
        (b"a\ta\x00.wav\ttext\ts1", "wav_path 'a\\x00.wav' has a control character"),
    ],
)
def test_refuses_a_bad_line_with_file_line_and_reason(tmp_path, line, reason):
    path = write(tmp_path, b"first\ta.wav\ttext\ts1\n" + line + b"\n")
    with pytest.raises(ManifestError) as error:
        read_manifest(path)
    assert str(error.value).startswith(f"{path}:2: ")
    assert reason in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_names_all_bad_lines_at_once(tmp_path):
    path = write(tmp_path, b"a\ta.wav\n.b\tb.wav\tt\ts\nc\tc.wav\tt\ts\nc\tc.wav\tt\ts\n")
    with pytest.raises(ManifestError) as error:
        read_manifest(path)
    places = [line.split(": ")[0] for line in str(error.value).splitlines()]
    assert places == [f"{path}:1", f"{path}:2", f"{path}:4"]


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_refuses_a_manifest_without_utterances(tmp_path, content):
    with pytest.raises(ManifestError, match="no utterance at all"):
        read_manifest(write(tmp_path, content))


def test_a_manifest_that_cannot_be_read_is_a_one_line_error(tmp_path):
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        read_manifest(tmp_path / "none.tsv")


def test_a_segment_of_a_recording(tmp_path):
    lines = [b"a\tr.wav\t\ts\tseconds=9\tstart=1.5\tend=2.75\n"]
    lines += [b"b\tr.wav\t\ts\tmale\tend=3\tstart=0\n"]
    lines += [b"c\tr.wav\tstart=1 end=2\ts\n"]  # its text says so
    first, second, third = read_manifest(write(tmp_path, b"".join(lines))).utterances
    assert (first.segment, first.seconds) == (Segment(1.5, 2.75), 1.25)
    assert (second.segment, second.seconds) == (Segment(0, 3), 3)
    assert (third.segment, third.seconds) == (None, None)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ("start=1", "start= and end= belong together"),
        ("start=1\tend=x", "'end=x' is not a time in seconds"),
        ("start=1\tend=1", "the end must come after the start"),
        ("start=-1\tend=1", "start=-1: must be 0 or more"),
        ("start=nan\tend=1", "start=nan: must be 0 or more"),
        ("start=1\tend=inf", "the end must come after the start"),
        ("start=1\tend=2\tstart=0", "a second start="),
    ],
)
def test_a_segment_that_makes_no_sense(tmp_path, columns, reason):
    path = write(tmp_path, f"a\ta.wav\t\ts\t\t{columns}\n".encode())
    with pytest.raises(ManifestError, match=rf"train\.tsv:1: .*{reason}"):
        read_manifest(path)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_may_end_in_lf_crlf_or_cr(tmp_path, end):
    lines = [f"u{i}\tu{i}.wav\tsome words\ts{i % 2}".encode() for i in range(4)]
    path = write(tmp_path, end.join([*lines, b"", lines[0].replace(b"u0", b"u4")]))
    utterances = read_manifest(path).utterances
    names = ["u0", "u1", "u2", "u3", "u4"]
    assert [(one.utt_id, one.speaker_id) for one in utterances] == [
        (name, f"s{i % 2}") for name, i in zip(names, [0, 1, 2, 3, 0], strict=True)
    ]
    # As jobs read it, which find the lines by themselves and read some of them.
    assert list(Utterances(path)) == list(utterances)
    assert Utterances(path)[3].utt_id == "u3"
    assert [one.utt_id for one in Utterances(path).at([4, 1])] == ["u4", "u1"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a\ta.wav\tx\x00y\ts", r"text 'x\\x00y' has a control character"),
        ("a\ta.wav\ttext\ts\x7f", r"speaker_id 's\\x7f' has a control character"),
        ("a\ta.wav\ttext\t", "an empty speaker_id"),
        ("a\ta.wav\ttext\t  ", "an empty speaker_id"),
    ],
)
def test_refuses_text_and_speakers_that_are_wrong(tmp_path, line, reason):
    path = write(tmp_path, f"b\tb.wav\t\ts\n{line}\n".encode())
    with pytest.raises(ManifestError, match=rf"train\.tsv:2: {reason}"):
        read_manifest(path)


def problems_of(path: Path) -> list[str]:
    with pytest.raises(ManifestError) as error:
        read_manifest(path)
    return [line.removeprefix(f"{path}:") for line in str(error.value).splitlines()]


def test_of_many_bad_lines_the_first_ten_and_their_number(tmp_path):
    found = problems_of(write(tmp_path, b"a,a.wav,some words,s1\n" * 3000))
    assert len(found) == 12
    assert found[0].startswith("1: 1 columns")
    assert found[9].startswith("10: 1 columns")
    assert found[10:] == [
        " 3000 lines are refused; these are the first 10",
        " the columns are separated by commas; separate them by tabs",
    ]


def test_repeated_lines_count_too(tmp_path):
    lines = [b"a\ta.wav\t\ts\n"] * 15 + [b"x\n"] * 3
    found = problems_of(write(tmp_path, b"".join(lines)))
    assert [int(line.partition(":")[0]) for line in found[:10]] == list(range(2, 12))
    assert found[10:] == [" 17 lines are refused; these are the first 10"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"utt_id\twav_path\ttext\tspeaker_id\na\ta.wav\t\ts\n", "1: line 1 looks like a header"),
        (b"\nID\tPath\ttext\tspk\na\ta.wav\t\ts\n", "2: line 2 looks like a header"),
        (b"a;a.wav;text;s\n", " the columns are separated by semicolons"),
        (b"a a.wav some s\n", " the columns are separated by spaces"),
        (b'{"audio_filepath": "a.wav"}\n', " the file is JSON; name it under xvector.corpora"),
        ("a\ta.wav\t\ts\n".encode("utf-16"), " the file is UTF-16; save it as UTF-8"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, content, problem):
    found = problems_of(write(tmp_path, content))
    assert any(line.startswith(problem) for line in found), found


def test_an_utterance_may_have_a_headers_name(tmp_path):
    path = write(tmp_path, b"id\tid.wav\tpath\tspeaker\n")
    assert read_manifest(path).utterances[0].utt_id == "id"


def test_a_tab_inside_the_text_is_warned_of(tmp_path):
    lines = [f"u{i}\tu.wav\ttext\ts\tseconds=1" for i in range(5)]
    path = write(tmp_path, "\n".join([*lines, "a\ta.wav\tsome\twords\ts1"]).encode())
    (warning,) = read_manifest(path).warnings
    assert "1 of 6 lines have a fifth column without name=value (line 6)" in warning
    # A column that all lines have is meant to be there.
    path = write(tmp_path, b"a\ta.wav\tx\ts\tmale\nb\tb.wav\tx\ts\tfemale\n")
    assert read_manifest(path).warnings == ()


def test_speakers_that_look_the_same_are_warned_of(tmp_path):
    names = ["jos\u00e9", "jose\u0301", "anna", "anna ", " b ", "N/A", "n/a", "unknown"]
    lines = [f"u{i}\tu.wav\t\t{name}" for i, name in enumerate(names)]
    manifest = read_manifest(write(tmp_path, "\n".join(lines).encode()))
    first, second = manifest.warnings
    assert "speakers 'anna', 'anna ' look the same" in first
    assert r"speakers 'jose\u0301', 'jos\xe9' look the same" in second
    # They stay as they are, each a speaker.
    assert [utterance.speaker_id for utterance in manifest.utterances] == names


@pytest.mark.parametrize(
    ("wav_path", "located"),
    [
        ("a.wav", "/corpus/a.wav"),
        ("~/a.wav", "/home/anna/a.wav"),
        ("$HOME/a.wav", "/home/anna/a.wav"),
        ("$no_such_variable.wav", "/corpus/$no_such_variable.wav"),
        ("./~/a.wav", "/corpus/./~/a.wav"),
        ("/a/$HOME/b.wav", "/a/$HOME/b.wav"),
    ],
)
def test_where_audio_lies(wav_path, located, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    assert locate_audio(Path("/corpus/train.tsv"), wav_path) == located


def test_a_manifest_is_read_again_only_after_a_change(tmp_path):
    path = write(tmp_path, b"a\ta.wav\tone\tanna\n")
    manifest = read_manifest_once(path)
    assert read_manifest_once(path) is manifest
    path = write(tmp_path, b"a\ta.wav\tone\tanna\nb\tb.wav\ttwo\tbert\n")
    assert len(read_manifest_once(path).utterances) == 2
