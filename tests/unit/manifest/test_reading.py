from pathlib import Path

import pytest

from xvectors.audio.signal import Segment
from xvectors.errors import ManifestError
from xvectors.manifest.lines import Utterance
from xvectors.manifest.reading import locate_audio, read_manifest


def write(folder: Path, content: bytes) -> Path:
    path = folder / "train.tsv"
    path.write_bytes(content)
    return path


def test_reads_lines_in_order_and_skips_blank_ones(tmp_path):
    path = write(tmp_path, b"b\tb.wav\ttext\ts1\n\n   \na\t/abs/a.wav\t\ts2\tseconds=1.5\tmore\n")
    assert read_manifest(path).utterances == [
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
    path = write(tmp_path, "a\ta.wav\tone\u2028two\x85three\ts1\n".encode())
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
        (b"a\ta.wav\ttext\ts1\tseconds=2,5", "'seconds=2,5' is no time in seconds"),
        (b"a\ta.wav\ttext\ts1\tseconds=0", "seconds=0 is no duration"),
        (b"a\ta.wav\ttext\ts1\tseconds=nan", "seconds=nan is no duration"),
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


def test_a_manifest_that_cannot_be_read_is_one_line(tmp_path):
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
        ("start=1\tend=x", "'end=x' is no time in seconds"),
        ("start=1\tend=1", "the end must come after the start"),
        ("start=-1\tend=1", "the end must come after the start"),
        ("start=nan\tend=1", "the end must come after the start"),
        ("start=1\tend=inf", "the end must come after the start"),
        ("start=1\tend=2\tstart=0", "a second start="),
    ],
)
def test_a_segment_that_makes_no_sense(tmp_path, columns, reason):
    path = write(tmp_path, f"a\ta.wav\t\ts\t\t{columns}\n".encode())
    with pytest.raises(ManifestError, match=rf"train\.tsv:1: .*{reason}"):
        read_manifest(path)
