import io
import os

import pytest

from xvectors.audio.byte_ranges import RangeFile, open_range, read_range
from xvectors.audio.containers import ByteRange
from xvectors.errors import UtteranceError

WAV = b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\4\0\0\0abcd"


@pytest.fixture
def container(tmp_path):
    path = tmp_path / "a.ark"
    path.write_bytes(b"0123456789")
    return path


def read(path, offset, size=None):
    with open_range(io.FileIO(path), ByteRange(str(path), offset, size)) as file:
        return file.read()


def test_a_range_is_a_file_of_its_own(container):
    file = io.FileIO(container)
    ranged = RangeFile(file, 2, 5)
    assert ranged.read(3) == b"234"
    assert ranged.read(9) == b"56"
    assert ranged.read(1) == b""
    assert ranged.seek(-2, os.SEEK_END) == 3
    assert ranged.seek(-1, os.SEEK_CUR) == ranged.tell() == 2
    assert ranged.read(1) == b"4"
    assert ranged.seek(100) == 100
    assert ranged.read(1) == b""
    with pytest.raises(OSError, match="Invalid argument"):
        ranged.seek(-1)
    ranged.close()
    assert file.closed


def test_a_range_ends_where_it_says(container):
    assert read(container, 3, 4) == b"3456"
    assert read(container, 10, 0) == b""


@pytest.mark.parametrize(("offset", "size"), [(3, 8), (11, 0), (10**17, 10**17)])
def test_a_container_that_ends_before_a_range(container, offset, size):
    member, message = (
        ByteRange(str(container), offset, size),
        f"^cut off: {container}:{offset}.{size}:",
    )
    with pytest.raises(UtteranceError, match=message):
        open_range(io.FileIO(container), member)
    with pytest.raises(UtteranceError, match=message):
        read_range(io.FileIO(container), member, size)


def test_a_short_range_is_read_once_for_its_hash_and_its_decoder(container, monkeypatch):
    n_reads = []
    pread = os.pread

    def short_read(descriptor, size, place):
        n_reads.append(size)
        return pread(descriptor, min(size, 3), place)

    monkeypatch.setattr("os.pread", short_read)

    def read_at_once(offset, size):
        file = io.FileIO(container)
        with read_range(file, ByteRange(str(container), offset, size), size) as range_:
            content = range_.read()
        assert file.closed
        return content

    assert [read_at_once(2, 4) for _ in range(3)] == [b"2345"] * 3
    assert n_reads == [4, 1]
    container.write_bytes(b"abcdefghijk")
    assert read_at_once(2, 4) == b"cdef"


def test_recordings_that_state_their_size(container):
    container.write_bytes(b"a " + WAV + b"b AUDIO\2\3\0xyz" + b"c ")
    assert read(container, 2) == WAV
    assert read(container, 4 + len(WAV)) == b"xyz"


def test_flac_is_read_a_little_further_than_it_may_reach(container):
    streaminfo = (1 << 41 | 15 << 36 | 1000).to_bytes(8, "big")
    flac = b"fLaC\0\0\0\x22" + bytes(10) + streaminfo + bytes(16)
    container.write_bytes(flac + bytes(2**21))
    assert len(read(container, 0)) == 2**20 + 5000
    container.write_bytes(flac.replace(streaminfo, bytes(8)) + bytes(100))
    with pytest.raises(UtteranceError, match="its header states no size; write it as <file>:<off"):
        read(container, 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cut off: .*: the file ends before it begins"),
        (b"ID3\3", "not audio: .*: there is no WAV, FLAC, NIST SPHERE or AUDIO"),
        (WAV[:-2], "cut off: .*: the file ends 2 bytes before it does"),
        (WAV[:30], "not read: .*: its header states no size"),
        (WAV[:40] + b"\xff\xff\xff\xff", "not read: .*: its header states no size"),
        (b"AUDIO", "not read: "),
        (b"AUDIO\xff123", "not read: "),
        (b"AUDIO\1\4xyz", "cut off: .*: the file ends 1 bytes before it does"),
        (b"fLaC\0\0", "not read: "),
    ],
)
def test_what_is_not_a_recording(container, content, reason):
    container.write_bytes(b"key " + content)
    with pytest.raises(UtteranceError, match=reason):
        read(container, 4)
