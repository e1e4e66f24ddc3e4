import pytest

from xvectors.config.layout import Layout
from xvectors.results.cosyvoice import export_cosyvoice
from xvectors.results.espnet3 import link_split
from xvectors.results.exporting import export_kaldi
from xvectors.results.speakers import average_speakers
from xvectors.results.stale_results import stale_results
from xvectors.results.tables import write_embedded, write_excluded, write_failures
from xvectors.sharding.collected import write_collected


def found(layout, *exports):
    return list(stale_results(layout, ["train"], exports, {}))


def test_a_table_of_absolute_paths(tmp_path):
    layout = Layout(tmp_path)
    assert found(layout) == []
    write_embedded(layout.table("train"), [])
    assert found(layout) == []
    layout.table("train").write_text("utt_id\tspeaker_id\tpath\tseconds\na\ts\t/x/a.pt\t1.0\n")
    assert found(layout) == [layout.table("train")]


@pytest.mark.parametrize("name", ["failures", "excluded"])
def test_damaged_tables_beside_a_sound_one(tmp_path, name):
    layout = Layout(tmp_path)
    write_embedded(layout.table("train"), [])
    write_failures(layout.failures("train"), [])
    write_excluded(layout.excluded("train"), [])
    assert found(layout) == []
    getattr(layout, name)("train").write_bytes(b"\xff rubbish")
    assert found(layout) == [layout.table("train")]


def test_archives_that_were_moved(tmp_path):
    layout = Layout(tmp_path)
    layout.kaldi("train").mkdir()
    (layout.kaldi("train") / "xvector.scp").write_text("a /elsewhere/xvector.ark:2\n")
    assert found(layout) == []
    assert found(layout, "kaldi") == [layout.kaldi("train")]


def test_a_file_that_is_missing_in_an_exported_folder(tmp_path):
    layout = Layout(tmp_path)
    kaldi, cosyvoice = layout.kaldi("train"), layout.cosyvoice("train")
    write_embedded(layout.table("train"), [])
    average_speakers(layout.table("train"), layout.speakers("train"), False, {})
    export_kaldi(layout.table("train"), layout.speakers("train"), kaldi)
    export_cosyvoice(layout.table("train"), cosyvoice)
    assert found(layout, "kaldi", "cosyvoice") == []
    for folder in (kaldi, cosyvoice):
        for path in sorted(folder.iterdir()):
            content = path.read_bytes()
            path.unlink()
            assert found(layout, "kaldi", "cosyvoice") == [folder]
            path.write_bytes(content)


def test_a_link_that_is_gone(tmp_path):
    layout = Layout(tmp_path / "tag")
    layout.espnet3("train").parent.mkdir(parents=True)
    assert found(layout, "espnet3") == []
    link_split(layout, "train")
    assert found(layout, "espnet3") == []
    layout.espnet3_link("train").unlink()
    assert found(layout, "espnet3") == [layout.espnet3("train")]


def test_a_damaged_note_of_the_markers(tmp_path):
    layout = Layout(tmp_path)
    layout.marker("train", "0-of-1").parent.mkdir(parents=True)
    layout.marker("train", "0-of-1").write_text("{}")
    write_collected(layout, "train", ["0-of-1"])
    assert found(layout) == []
    layout.collected("train").write_text("{}")
    assert found(layout) == [layout.collected("train")]
