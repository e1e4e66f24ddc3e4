import hashlib

import pytest

from xvectors.audio.signal import Segment
from xvectors.errors import ManifestError
from xvectors.manifest import lines
from xvectors.manifest.lines import (
    Utterance,
    has_control_character,
    line_starts,
    numbered_lines,
    parse_line,
    version_of,
)

CONTENT = b"\xef\xbb\xbfa\tx\r\n\n  \n\r\nb\ty\n c\tz\n"


def test_lines_that_are_not_blank_with_number_and_place(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_bytes(CONTENT)
    found = list(numbered_lines(path))
    assert [(number, content) for number, _, content in found] == [
        (1, b"a\tx"),
        (5, b"b\ty"),
        (6, b" c\tz"),
    ]
    for _, start, content in found[1:]:
        assert CONTENT[start:].startswith(content)


def test_the_digest_is_that_of_the_file(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_bytes(CONTENT)
    digest = hashlib.sha256()
    assert len(list(numbered_lines(path, digest))) == 3
    assert digest.hexdigest() == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "content",
    [
        CONTENT,
        CONTENT[:-1],
        CONTENT.replace(b"\r\n", b"\n").replace(b"\n", b"\r"),
        b"",
        b"\n",
        b"\r",
        b"\r\n",
        b"a\tx",
        b"a\r\rb\r  \r\n\rc\r \r",
        b"\xef\xbb\xbf\na\n",
        b"\xef\xbb\xbf  \ra\n",
    ],
)
def test_lines_begin_where_reading_them_says(tmp_path, monkeypatch, content, block):
    monkeypatch.setattr(lines, "BLOCK_BYTES", block)
    path = tmp_path / "train.tsv"
    path.write_bytes(content)
    assert line_starts(path).tolist() == [start for _, start, _ in numbered_lines(path)]


def test_columns_of_a_line():
    assert parse_line("ü\ta b.wav\t\ts 1".encode()) == Utterance("ü", "a b.wav", "s 1", None)
    assert parse_line(b"a\tb\tc\td\tmale\tseconds=1.5").seconds == 1.5
    segment = parse_line(b"a\tb\tc\td\tend=2.5\tstart=1\tseconds=9")
    assert (segment.segment, segment.seconds) == (Segment(1, 2.5), 1.5)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a\tb\tc", "3 columns"),
        (b"\tb\tc\td", "an empty utt_id"),
        (b"a\t\tc\td", "an empty wav_path"),
        (b"a\tb\xff\tc\td", "not UTF-8"),
        (b"a\tb\tc\td\tseconds=-1", "seconds=-1 is not a duration"),
        (b"a\tb\tc\td\tseconds=1\tseconds=2", "a second seconds="),
    ],
)
def test_the_reason_of_a_wrong_line(line, reason):
    with pytest.raises(ManifestError, match=reason):
        parse_line(line)


def test_control_characters_are_those_of_c0_and_c1():
    assert all(map(has_control_character, ("a\n", "\x00", "\x7f", "\x9f")))
    assert not any(map(has_control_character, ("", "a b", "\xa0", "ünïcode", "\u202e")))


def test_a_version_is_size_and_time(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_bytes(b"abc")
    status = path.stat()
    assert version_of(path) == (3, status.st_mtime_ns)
    with pytest.raises(ManifestError, match=r"none\.tsv: cannot be read: No such file"):
        version_of(tmp_path / "none.tsv")
