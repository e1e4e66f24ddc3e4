import json
import os
import re
from datetime import UTC, datetime

import pytest

from tests.support.made_split import SHARDS, make_marker, make_split, make_voices
from xvectors.config.layout import Layout
from xvectors.errors import ShardError
from xvectors.files.run_lock import COMMAND_VARIABLE
from xvectors.report.overview_page import draw_overview
from xvectors.results.tables import FailureRow
from xvectors.sharding.markers import write_last_work, write_marker

NONE = "\N{EN DASH}"


@pytest.fixture
def config(tmp_path):
    """The settings of a split of 12 utterances, 78 s in all, with all that the page shows."""
    trials = {"vox": "a.txt", "sim": "b.txt"}
    wanted = {"splits": ["train"], "labels": True, "clusters": True, "trials": trials}
    failures = [FailureRow("x", "x.wav", "empty")]
    config = make_split(tmp_path, *make_voices(3, 4), failures, **wanted)
    layout = Layout.of(config)
    layout.encoder_folder.mkdir()
    about = {"source": "<b>/model", "revision": None, "fingerprint": "f00d"}
    layout.encoder_description.write_text(json.dumps(about))
    layout.labels_summary("train").write_text(json.dumps({"suspect": 7}))
    layout.clusters_summary("train").write_text(json.dumps({"n_clusters": 5}))
    score = {"n_targets": 1500, "n_nontargets": 500, "eer": 0.0123}
    layout.error_rates("vox").write_text(json.dumps({"score": score}))
    pairs = {"n_pairs": 9, "mean": 0.5, "median": 0.25}
    layout.error_rates("sim").write_text(json.dumps({"score": pairs, "normalized_score": pairs}))
    return config


def drawn(config):
    layout = Layout.of(config)
    draw_overview(config, {"train": SHARDS})
    return layout.overview.read_text()


def rows(page):
    """The texts of all cells, by row."""
    return [
        [re.sub("<[^>]*>", "", cell).strip() for cell in re.findall("<td.*?</td>", row, re.DOTALL)]
        for row in re.findall("<tr>(.*?)</tr>", page, re.DOTALL)
    ]


def test_every_split_and_trial_list_has_a_line_and_links(config):
    page = drawn(config)
    found = rows(page)
    # The markers tell of 40 s of audio in 2 s.
    assert ["train", "12", "3", "0.02", "1", NONE, "7", "5", "20"] in found
    assert ["vox", "cosine", "2,000", "1.23 %", NONE, NONE] in found
    assert ["sim", "cosine", "9", NONE, "0.5000", "0.2500"] in found
    assert ["sim", "normalized cosine", "9", NONE, "0.5000", "0.2500"] in found
    assert re.findall('href="([^"]*)"', page) == [
        "#splits",
        "#trial-lists",
        "#encoder",
        "#run",
        "train.report.html",
        "train.report.html#failures",
        "train.report.html#suspects",
        "train.clusters.tsv",
        *["vox.scores.html"],
        *["sim.scores.html"] * 2,
    ]
    for text in ("&lt;b&gt;/model", "f00d", "fp32", "cpu"):
        assert [text] in found


def test_the_command_and_the_dates_are_named(config, monkeypatch):
    monkeypatch.setenv(COMMAND_VARIABLE, "snakemake --config 'a=<b>'")
    for shard in SHARDS:
        os.utime(Layout.of(config).marker("train", shard), (0, 86_400 * 365))
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    found = drawn(config)
    assert ["snakemake --config &#39;a=&lt;b&gt;&#39;"] in rows(found)
    embedded, page = (
        datetime.strptime(text, "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
        for text in re.findall("<td>(.* UTC)</td>", found)
    )
    assert embedded == datetime(1971, 1, 1, tzinfo=UTC)
    # A job that embeds nothing leaves the date and the speed of the one before.
    layout = Layout.of(config)
    for shard in SHARDS:
        write_last_work(layout.last_work("train", shard), make_marker())
        os.utime(layout.last_work("train", shard), (0, 86_400 * 365))
        write_marker(layout.marker("train", shard), make_marker(n_written=0))
    later = drawn(config)
    assert "<td>1971-01-01 00:00 UTC</td>" in later
    assert '<td class="number">20</td></tr>' in later
    assert before <= page <= datetime.now(UTC)
    monkeypatch.delenv(COMMAND_VARIABLE)
    assert "<th>command</th>" not in drawn(config)


def test_the_page_is_small_without_the_charts_library(config):
    assert len(drawn(config)) < 20_000


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"null", b"\xff"])
def test_a_missing_or_damaged_summary_is_named(config, content):
    path = Layout.of(config).labels_summary("train")
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ShardError, match=r"train\.labels\.json: missing or damaged"):
        drawn(config)
