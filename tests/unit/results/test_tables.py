import pytest
import torch

from tests.support.toolkit_models import Trap
from xvectors.errors import ShardError
from xvectors.results.tables import load_embedding, read_failures, read_index
from xvectors.tasks.xvectors import XVectorRunner


@pytest.mark.parametrize("as_zip", [True, False])
def test_code_in_an_embedding_is_not_run(tmp_path, as_zip):
    path = tmp_path / "a.pt"
    torch.save(Trap(tmp_path / "sprung"), path, _use_new_zipfile_serialization=as_zip)
    with pytest.raises(ShardError, match=r"a\.pt: no embedding"):
        load_embedding(str(path))
    with pytest.raises(Exception, match="Weights only load failed"):
        XVectorRunner.check_output(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("", r"train\.tsv"),
        ("utt_id\n", r"train\.tsv:1"),
        ("utt_id\tspeaker_id\tpath\tseconds\na\ts\tp\n", r"train\.tsv:2"),
        ("utt_id\tspeaker_id\tpath\tseconds\na\ts\tp\tx\n", r"train\.tsv:2"),
    ],
)
def test_a_damaged_table(tmp_path, content, place):
    (tmp_path / "train.tsv").write_text(content)
    with pytest.raises(ShardError, match=rf"{place}: no table of utterances; delete it"):
        list(read_index(tmp_path / "train.tsv"))


def test_a_damaged_table_of_failures(tmp_path):
    (tmp_path / "train.tsv").write_text("utt_id\twav_path\treason\na\tb\n")
    with pytest.raises(ShardError, match=r"train\.tsv:2: no table of utterances; delete it"):
        list(read_failures(tmp_path / "train.tsv"))
