import shutil

import pytest
import torch

from tests.support.toolkit_models import Trap
from xvectors.errors import ShardError
from xvectors.results.tables import (
    EmbeddedRow,
    ExcludedRow,
    has_sound_start,
    load_embedding,
    load_embeddings,
    read_embedded,
    read_excluded,
    read_failures,
    write_embedded,
    write_excluded,
)
from xvectors.tasks.xvectors import XVectorRunner


@pytest.mark.parametrize("as_zip", [True, False])
def test_code_in_an_embedding_is_not_run(tmp_path, as_zip):
    path = tmp_path / "a.pt"
    torch.save(Trap(tmp_path / "sprung"), path, _use_new_zipfile_serialization=as_zip)
    with pytest.raises(ShardError, match=r"a\.pt: not an embedding"):
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
    with pytest.raises(ShardError, match=rf"{place}: not a table of utterances\. Delete it"):
        list(read_embedded(tmp_path / "train.tsv"))


def test_a_damaged_table_of_failures(tmp_path):
    (tmp_path / "train.tsv").write_text("utt_id\twav_path\treason\na\tb\n")
    with pytest.raises(ShardError, match=r"train\.tsv:2: not a table of utterances\. Delete it"):
        list(read_failures(tmp_path / "train.tsv"))


def test_seconds_of_speech_have_a_column_where_they_are_wanted(tmp_path):
    rows = [
        EmbeddedRow("a", "s", f"{tmp_path}/train/a.pt", 2.0, 1.5),
        EmbeddedRow("b", "s", f"{tmp_path}/train/b.pt", 3.0, None),
    ]
    write_embedded(tmp_path / "train.tsv", rows, with_speech=True)
    assert list(read_embedded(tmp_path / "train.tsv")) == rows
    assert has_sound_start(read_embedded(tmp_path / "train.tsv"))
    lines = (tmp_path / "train.tsv").read_text().splitlines()
    assert lines[0] == "utt_id\tspeaker_id\tpath\tseconds\tspeech_seconds"
    assert [line.split("\t")[4] for line in lines[1:]] == ["1.5000", ""]
    write_embedded(tmp_path / "train.tsv", rows)
    found = [(row.seconds, row.speech_seconds) for row in read_embedded(tmp_path / "train.tsv")]
    assert found == [(2.0, None), (3.0, None)]


def test_a_table_of_excluded_utterances(tmp_path):
    rows = [ExcludedRow("a", "a.wav", 0.25), ExcludedRow("b", "b c.wav", 3600.5)]
    write_excluded(tmp_path / "train.tsv", rows)
    assert list(read_excluded(tmp_path / "train.tsv")) == rows
    (tmp_path / "train.tsv").write_text("utt_id\twav_path\tseconds\na\tb\tlong\n")
    with pytest.raises(ShardError, match=r"train\.tsv:2: not a table of utterances\. Delete it"):
        list(read_excluded(tmp_path / "train.tsv"))


def made_table(folder, value, names=("train/a.pt", "train/deep/b.pt", "other/c.pt")):
    rows = []
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(torch.full((3,), value), folder / name)
        # A runner may name its files by way of the split's folder.
        path = folder / "train" / ".." / name
        rows.append(EmbeddedRow(f"u{number}", "s", str(path), 1.0))
    write_embedded(folder / "train.tsv", rows)
    return folder / "train.tsv"


def test_paths_are_relative_to_the_tables_folder(tmp_path, monkeypatch):
    table = made_table(tmp_path / "out" / "tag", 1.0)
    written = [line.split("\t")[2] for line in table.read_text().splitlines()]
    assert written == ["path", "train/a.pt", "train/deep/b.pt", "other/c.pt"]
    # From a relative folder too, and read from another one.
    monkeypatch.chdir(tmp_path)
    made_table((tmp_path / "out" / "tag").relative_to(tmp_path), 1.0)
    assert [line.split("\t")[2] for line in table.read_text().splitlines()] == written
    monkeypatch.chdir(tmp_path / "out")
    assert all((vector == 1).all() for vector in load_embeddings(read_embedded(table)))


def test_a_copy_of_a_folder_reads_its_own_embeddings(tmp_path):
    table = made_table(tmp_path / "first", 1.0)
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    made_table(tmp_path / "first", 2.0)
    for folder, value in (("copy", 1.0), ("first", 2.0)):
        vectors = list(load_embeddings(read_embedded(tmp_path / folder / table.name)))
        assert [vector.tolist() for vector in vectors] == [[value] * 3] * 3


def test_a_runner_that_writes_outside_the_folder_is_refused(tmp_path):
    rows = [EmbeddedRow("a", "s", str(tmp_path / "elsewhere" / "a.pt"), 1.0)]
    (tmp_path / "tag").mkdir()
    with pytest.raises(ShardError, match=r"elsewhere: lies outside .*tag, .*runner's output_path"):
        write_embedded(tmp_path / "tag" / "train.tsv", rows)
    assert not (tmp_path / "tag" / "train.tsv").exists()


@pytest.mark.parametrize("path", ["/first/train/a.pt", "../first/train/a.pt", "train/../../a.pt"])
def test_a_table_that_names_files_outside_its_folder_is_not_read(tmp_path, path):
    table = tmp_path / "train.tsv"
    table.write_text(f"utt_id\tspeaker_id\tpath\tseconds\na\ts\t{path}\t1.0000\n")
    assert not has_sound_start(read_embedded(table))
    with pytest.raises(ShardError, match=r"train\.tsv:2: .* lies outside .*make this table again"):
        list(read_embedded(table))


def test_tables_of_this_version_are_told_apart(tmp_path):
    assert has_sound_start(read_embedded(made_table(tmp_path, 1.0)))
    write_embedded(tmp_path / "train.tsv", [])
    assert has_sound_start(read_embedded(tmp_path / "train.tsv"))
    assert not has_sound_start(read_embedded(tmp_path / "missing.tsv"))
