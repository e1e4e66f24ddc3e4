import errno
from pathlib import Path

import pytest

from xvectors.errors import WriteError
from xvectors.files.atomic import (
    flush_to_disk,
    remove_leftovers,
    replacing,
    write_atomically,
)


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_whole(tmp_path, durable):
    path = tmp_path / "a"
    write_atomically(path, b"old", durable)
    with pytest.raises(ZeroDivisionError), replacing(path, durable) as temporary:
        temporary.write_bytes(b"ne")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new", durable)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named_with_the_reason(tmp_path):
    path = tmp_path / "none" / "a"
    with pytest.raises(WriteError, match=r"a: cannot be written: No such file .* same command"):
        write_atomically(path, b"content")
    full = pytest.raises(WriteError, match="b: cannot be written: No space left on device")
    with full, replacing(tmp_path / "b"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_meanwhile_is_not_said_to_be_unwritable(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), replacing(tmp_path / "a"):
        (tmp_path / "other").read_bytes()


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    (tmp_path / ".a.0123456789ab.tmp").touch()
    (tmp_path / "a.tmp").touch()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tmp"]


def test_a_file_system_is_flushed(tmp_path, monkeypatch):
    flush_to_disk(tmp_path)
    with pytest.raises(FileNotFoundError):
        flush_to_disk(tmp_path / "none")
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: Path)  # as where there is no syncfs
    flush_to_disk(tmp_path)
