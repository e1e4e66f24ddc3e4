import pytest

from tests.support.made_split import make_marker
from xvectors.errors import ShardError
from xvectors.sharding.markers import (
    Failure,
    read_last_work,
    read_marker,
    write_last_work,
    write_marker,
)


def test_a_marker_comes_back(tmp_path):
    marker = make_marker(failures=[Failure("a", "a.wav", "too short")], outputs="0")
    write_marker(tmp_path / "0-of-1.done", marker)
    assert read_marker(tmp_path / "0-of-1.done") == marker


@pytest.mark.parametrize("content", [b"", b"{}", b'{"n_utterances": 3}'])
def test_a_damaged_marker_is_none(tmp_path, content):
    (tmp_path / "0-of-1.done").write_bytes(content)
    with pytest.raises(ShardError, match=r"not a done-marker\. Rerun the same command"):
        read_marker(tmp_path / "0-of-1.done")


def test_the_last_work_is_of_the_last_job_that_embedded_something(tmp_path):
    path = tmp_path / "0-of-1.embedded"
    work = make_marker(n_written=7, seconds={"a": 1.0}, failures=[Failure("b", "b.wav", "empty")])
    idle = make_marker(n_written=0)
    assert read_last_work(path, work) == work
    assert read_last_work(path, idle) == idle
    write_last_work(path, work)
    assert read_last_work(path, idle) == make_marker(n_written=7)
    newer = make_marker(n_written=1)
    assert read_last_work(path, newer) == newer
    path.write_text("{")
    with pytest.raises(ShardError, match=r"0-of-1\.embedded: damaged\. Delete it"):
        read_last_work(path, idle)
