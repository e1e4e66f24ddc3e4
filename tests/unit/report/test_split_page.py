import numpy as np
import pytest
import soundfile

from tests.support.made_split import SHARDS, make_marker, make_split, make_voices, write_labels
from xvectors.config.layout import Layout
from xvectors.report.split_page import draw_report
from xvectors.results.tables import ExcludedRow, write_excluded
from xvectors.sharding.markers import write_marker


def test_a_page_that_snakemakes_report_cannot_show_is_named(tmp_path, monkeypatch, caplog):
    config = make_split(tmp_path, *make_voices(2, 3))
    draw_report(config, "train", SHARDS)
    assert "too large" not in caplog.text
    monkeypatch.setattr("xvectors.report.split_page.MAX_PAGE_BYTES", 1000)
    draw_report(config, "train", SHARDS)
    assert "train.report.html: too large for Snakemake's report" in caplog.text


def test_silent_utterances_are_shown_only_where_there_are_some(tmp_path):
    config = make_split(tmp_path, *make_voices(2, 3))
    layout = Layout.of(config)
    draw_report(config, "train", SHARDS)
    assert "<dt>silent</dt>" not in layout.page("train").read_text()
    write_marker(layout.marker("train", SHARDS[0]), make_marker(n_silent=3))
    draw_report(config, "train", SHARDS)
    assert "<dt>silent</dt><dd>3</dd>" in layout.page("train").read_text()


def test_wrongly_stated_durations_are_counted_only_where_there_are_some(tmp_path):
    config = make_split(tmp_path, *make_voices(2, 3))
    layout = Layout.of(config)
    draw_report(config, "train", SHARDS)
    assert "wrong durations" not in layout.page("train").read_text()
    for shard in SHARDS:
        write_marker(layout.marker("train", shard), make_marker(n_misstated=2))
    draw_report(config, "train", SHARDS)
    assert "<dt>wrong durations</dt><dd>4<small>" in layout.page("train").read_text()


def test_excluded_utterances_are_shown_only_where_there_are_some(tmp_path):
    config = make_split(tmp_path, *make_voices(2, 3), min_seconds=1)
    layout = Layout.of(config)
    write_excluded(layout.excluded("train"), [])
    draw_report(config, "train", SHARDS)
    assert 'id="excluded"' not in layout.page("train").read_text()
    write_excluded(layout.excluded("train"), [ExcludedRow("short", "short.wav", 0.5)])
    draw_report(config, "train", SHARDS)
    page = layout.page("train").read_text()
    assert '<dt>excluded</dt><dd><a href="#excluded">1</a><small>' in page
    assert '<h2 id="excluded">' in page
    assert '<td>short</td><td>short.wav</td><td class="number">0.50</td>' in page


@pytest.mark.parametrize(("n_suspects", "tile"), [(0, "0"), (2, '<a href="#suspects">2</a>')])
def test_suspect_labels_are_shown_only_where_labels_are_checked(tmp_path, n_suspects, tile):
    speakers, embeddings = make_voices(2, 3)
    plain = make_split(tmp_path / "plain", speakers, embeddings)
    draw_report(plain, "train", SHARDS)
    assert 'id="suspects"' not in Layout.of(plain).page("train").read_text()
    config = make_split(tmp_path / "checked", speakers, embeddings, labels=True)
    layout = Layout.of(config)
    write_labels(layout.labels("train"), n_suspects)
    draw_report(config, "train", SHARDS)
    page = layout.page("train").read_text()
    assert f"<dt>suspect labels</dt><dd>{tile}</dd>" in page
    assert page.count('<td class="number against">') >= n_suspects
    assert '<a href="train.labels.tsv">train.labels.tsv</a>' in page


def test_doubtful_utterances_have_their_path_and_a_player(tmp_path):
    config = make_split(tmp_path, *make_voices(2, 3))
    layout = Layout.of(config)
    manifest = tmp_path / "corpus" / "train.tsv"
    manifest.write_text(manifest.read_text().replace("wavs/utt00001.wav", "wavs.tar:1+2"))
    draw_report(config, "train", SHARDS)
    page = layout.page("train").read_text()
    assert page.count("<audio") == 5
    assert page.count('preload="none"') == 5
    assert ' data-links="../corpus/wavs/utt00003.wav file:///' in page
    assert '<a href="../corpus/wavs/utt00003.wav">wavs/utt00003.wav</a>' in page
    assert '<div class="path">wavs.tar:1+2</div>' in page


@pytest.mark.parametrize("with_audio", [True, False])
def test_doubtful_utterances_have_a_clip_unless_it_is_not_wanted(tmp_path, with_audio):
    config = make_split(tmp_path, *make_voices(2, 3), report_audio=with_audio)
    wavs = tmp_path / "corpus" / "wavs"
    wavs.mkdir()
    soundfile.write(wavs / "utt00001.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 16000)
    draw_report(config, "train", SHARDS)
    page = Layout.of(config).page("train").read_text()
    assert page.count("<audio") == 6
    assert page.count("data-clip=") == with_audio
    assert page.count(' data-clip="utt00001"') == with_audio
    assert ("Players have the first 8 seconds" in page) == with_audio
