from tests.support.made_split import SHARDS, make_split, make_voices
from xvectors.report.split_page import draw_report


def test_a_page_that_snakemakes_report_cannot_show_is_named(tmp_path, monkeypatch, caplog):
    config = make_split(tmp_path, *make_voices(2, 3))
    draw_report(config, "train", SHARDS, 100, with_tsne=False)
    assert "too large" not in caplog.text
    monkeypatch.setattr("xvectors.report.split_page.MAX_PAGE_BYTES", 1000)
    draw_report(config, "train", SHARDS, 100, with_tsne=False)
    assert "train.report.html: too large for Snakemake's report" in caplog.text
