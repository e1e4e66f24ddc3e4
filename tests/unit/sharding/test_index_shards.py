import pytest

from xvectors.errors import ShardError
from xvectors.files.json_text import dump_checksummed
from xvectors.sharding.index_shards import read_index_shard


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"positions": [1]}', dump_checksummed({"a": 1}).decode()]
)
def test_a_damaged_index_shard_is_a_one_line_error(tmp_path, content):
    path = tmp_path / "0-of-1.json"
    path.write_text(content)
    with pytest.raises(ShardError, match="not an index shard"):
        read_index_shard(path)
