import pytest

from xvectors.config.layout import Layout
from xvectors.errors import ExportError
from xvectors.results.espnet3 import is_linked, link_split


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "x_vectors" / "tag")
    layout.embeddings("train").mkdir(parents=True)
    (layout.embeddings("train") / "a.pt").write_bytes(b"a")
    layout.espnet3("train").parent.mkdir()
    return layout


def test_the_link_survives_moving(layout, tmp_path):
    assert not is_linked(layout, "train")
    link_split(layout, "train")
    link_split(layout, "train")
    assert is_linked(layout, "train")
    assert layout.espnet3("train").exists()
    moved = (tmp_path / "x_vectors").rename(tmp_path / "moved")
    assert (moved / "tag_train" / "a.pt").read_bytes() == b"a"
    assert is_linked(Layout(moved / "tag"), "train")


def test_a_link_to_another_place_is_replaced(layout, tmp_path):
    layout.espnet3_link("train").symlink_to(tmp_path)
    assert not is_linked(layout, "train")
    link_split(layout, "train")
    assert (layout.espnet3_link("train") / "a.pt").exists()


def test_embeddings_that_are_there_are_not_replaced(layout):
    layout.espnet3_link("train").mkdir()
    (layout.espnet3_link("train") / "b.pt").write_bytes(b"b")
    with pytest.raises(ExportError, match="tag_train: exists and is not a link; move it away"):
        link_split(layout, "train")
    assert (layout.espnet3_link("train") / "b.pt").read_bytes() == b"b"
    assert not layout.espnet3("train").exists()
