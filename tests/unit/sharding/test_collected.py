import pytest

from xvectors.config.layout import Layout, shard_names
from xvectors.errors import ShardError
from xvectors.sharding.collected import is_whole, read_collected, write_collected


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    layout.marker("train", "any").parent.mkdir(parents=True)
    for shard in shard_names(12):
        layout.marker("train", shard).write_text(f"account of {shard}")
    return layout


def test_a_note_names_the_shards_and_changes_with_any_marker(layout):
    write_collected(layout, "train", shard_names(12))
    before = layout.collected("train").read_bytes()
    assert read_collected(layout.collected("train")) == shard_names(12)
    assert is_whole(layout.collected("train"))
    write_collected(layout, "train", shard_names(12))
    assert layout.collected("train").read_bytes() == before
    layout.marker("train", "07-of-12").write_text("another account")
    write_collected(layout, "train", shard_names(12))
    assert layout.collected("train").read_bytes() != before


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"n_shards":12}'])
def test_a_missing_or_damaged_note_is_refused(layout, content):
    path = layout.collected("train")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ShardError, match=r"train\.collected: damaged\. Rerun the same command"):
        read_collected(path)
    assert not is_whole(path)
