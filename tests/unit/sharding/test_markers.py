import pytest

from tests.support.made_split import make_marker
from xvectors.errors import ShardError
from xvectors.sharding.markers import Failure, read_marker, write_marker


def test_a_marker_comes_back(tmp_path):
    marker = make_marker(failures=[Failure("a", "a.wav", "too short")], outputs="0")
    write_marker(tmp_path / "0-of-1.done", marker)
    assert read_marker(tmp_path / "0-of-1.done") == marker


@pytest.mark.parametrize("content", [b"", b"{}", b'{"n_utterances": 3}'])
def test_a_damaged_marker_is_none(tmp_path, content):
    (tmp_path / "0-of-1.done").write_bytes(content)
    with pytest.raises(ShardError, match=r"not a done-marker\. Rerun the same command"):
        read_marker(tmp_path / "0-of-1.done")
