import json
import resource
import time

import numpy as np
import pytest
import soundfile

from tests.support.made_split import SHARDS, make_marker, make_split, make_voices, write_labels
from xvectors.config.layout import Layout, shard_names
from xvectors.report.charts import OTHERS_COLOUR
from xvectors.report.overview_page import draw_overview
from xvectors.report.page import MAX_PAGE_BYTES
from xvectors.report.split_page import draw_report
from xvectors.report.split_report import MAX_DOUBTS, MAX_POINTS, MAX_ROWS_SHOWN
from xvectors.report.trials_page import trials_page
from xvectors.results.tables import (
    EmbeddedRow,
    ExcludedRow,
    FailureRow,
    write_embedded,
    write_excluded,
)
from xvectors.sharding.markers import write_marker
from xvectors.verification.error_rates import ScoredTrials
from xvectors.verification.score_summary import MAX_DET_POINTS, report_pairs, report_scores

from .browser import (
    HEIGHT,
    WIDTHS,
    Window,
    barriers,
    contrasts,
    marks_of,
    n_colours,
    n_marks,
    pixel_contrast,
    point_at,
)

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"
# HTMLMediaElement.NETWORK_IDLE: nothing is being loaded.
IDLE = 1
UNKNOWN = "\N{EN DASH}"
MINUS_ONE = "\N{MINUS SIGN}1"


def draw(config, with_tsne=False, n_utterances=5000):
    """Draw the split's page and return its path."""
    changes = {"report_tsne": with_tsne, "report_utterances": n_utterances}
    xvector = config.xvector.model_copy(update=changes)
    draw_report(config.model_copy(update={"xvector": xvector}), "train", SHARDS)
    page = Layout.of(config).page("train")
    assert page.stat().st_size < MAX_PAGE_BYTES
    return page


def assert_within_width(frame):
    """Assert that no window is too narrow for the page."""
    for width in WIDTHS:
        frame.page.set_viewport_size({"width": width, "height": HEIGHT})
        # Charts are drawn anew for the width.
        frame.wait_for_function("document.documentElement.scrollWidth <= innerWidth")


def test_pictures_are_drawn_and_say_what_is_pointed_at(tmp_path, window):
    speakers, embeddings = make_voices(10, 6, spread=0.3)
    page = draw(make_split(tmp_path, speakers, embeddings), with_tsne=True)
    frame = window.open(page)
    for chart in ("map", "neighbours", "fit"):
        assert n_marks(frame, chart)["symbol"] == 60
        assert n_colours(frame, chart) > 2
        tooltip = point_at(window, frame, chart, "utt00059")
        assert "utt00059" in tooltip
        assert "voice009" in tooltip
        assert "60.00" in tooltip
    assert n_marks(frame, "similarity")["rect"] > 20
    assert n_marks(frame, "similarity")["rule"] == 1
    assert n_marks(frame, "durations") == {"rect": 40}
    assert n_marks(frame, "speeds") == {"rect": 2, "text": 2}
    assert_within_width(frame)
    assert frame.locator(".legend").first.locator("[data-group]").count() == 10
    assert frame.locator("main tbody tr").count() == MAX_DOUBTS + 10
    assert frame.locator("h2").all_inner_texts() == [
        "Map of the utterances",
        "Same and different speakers",
        "Worth listening to",
        "Durations",
        "Speed",
        "Failures",
    ]
    assert "all 60 utterances" in frame.locator("figcaption").first.inner_text()
    assert [url for url in window.requests if url.startswith("http")] == []


def labelled_split(root, n_suspects):
    """A split with suspect labels and as many failures."""
    failures = [FailureRow(f"bad{i:03d}", "bad.wav", f"reason {i % 7}") for i in range(n_suspects)]
    config = make_split(root, *make_voices(3, 4), failures, labels=True)
    write_labels(Layout.of(config).labels("train"), n_suspects)
    return config


def shown_rows(frame, section):
    """The first cell of each row of the table below a heading."""
    cells = frame.locator(f"h2#{section} ~ .table").first.locator("tbody tr:visible td:first-child")
    return [text.split()[0] for text in cells.all_inner_texts()]


def test_tables_sort_by_mouse_and_keyboard(tmp_path, wide_window):
    frame = wide_window.open(draw(labelled_split(tmp_path, 12)))
    table = frame.locator("h2#suspects ~ .table").first
    first, *_, last = (header for header in table.locator("th").all())
    assert last.get_attribute("aria-sort") == "ascending"
    names = [f"utt{i:05d}" for i in range(12)]
    assert shown_rows(frame, "suspects") == names[::-1]
    last.get_by_role("button").click()
    assert last.get_attribute("aria-sort") == "descending"
    assert shown_rows(frame, "suspects") == names
    first.get_by_role("button").focus()
    for order, expected in (("ascending", names), ("descending", names[::-1])):
        wide_window.page.keyboard.press("Enter")
        assert first.get_attribute("aria-sort") == order
        assert last.get_attribute("aria-sort") is None
        assert shown_rows(frame, "suspects") == expected
    assert_within_width(frame)


@pytest.mark.parametrize("moved", ["both", "page"])
def test_players_play_the_audio_beside_the_page(tmp_path, wide_window, moved):
    original = tmp_path / "original"
    page = draw(make_split(original, *make_voices(2, 2)))
    audio = original / "corpus" / "wavs" / "utt00000.wav"
    audio.parent.mkdir()
    soundfile.write(audio, np.random.default_rng(0).normal(0, 0.1, 8000), 16000)
    here = tmp_path / "here"
    if moved == "both":
        original.rename(here)
    else:
        (original / "tag").rename(here)
    frame = wide_window.open(here / page.relative_to(original if moved == "both" else page.parent))
    player = frame.get_by_label("utt00000")
    assert player.evaluate("(one) => one.networkState") == IDLE
    seconds = player.evaluate(
        """async (one) => {
            await one.play();
            return one.duration;
        }"""
    )
    assert seconds == pytest.approx(0.5)
    if moved == "page":
        assert [problem for problem in wide_window.problems if "NOT_FOUND" not in problem] == []
        wide_window.problems.clear()


def test_players_play_clips_when_the_audio_has_gone(tmp_path, wide_window):
    config = make_split(tmp_path, *make_voices(2, 2))
    audio = tmp_path / "corpus" / "wavs" / "utt00000.wav"
    audio.parent.mkdir()
    soundfile.write(audio, np.random.default_rng(0).normal(0, 0.1, 8000), 16000)
    page = draw(config)
    audio.unlink()
    seconds = (
        wide_window.open(page)
        .get_by_label("utt00000")
        .evaluate("async (one) => { await one.play(); return one.duration; }")
    )
    assert seconds == pytest.approx(0.5, abs=0.1)


def draw_all(root):
    """Draw the page of a split with all that it can show, and the overview, and return both."""
    failures = [FailureRow("bad", "bad.wav", "no audio")]
    wanted = {"splits": ["train"], "labels": True, "min_seconds": 1}
    config = make_split(root, *make_voices(12, 2), failures, **wanted)
    layout = Layout.of(config)
    write_labels(layout.labels("train"), 12)
    layout.labels_summary("train").write_text(json.dumps({"suspect": 12}))
    write_excluded(layout.excluded("train"), [ExcludedRow("short", "short.wav", 0.5)])
    layout.encoder_folder.mkdir()
    about = {"source": "a/model", "revision": None, "fingerprint": "f00d"}
    layout.encoder_description.write_text(json.dumps(about))
    page = draw(config, with_tsne=True)
    draw_overview(config, {"train": SHARDS})
    return page, layout.overview


def draw_trial_lists(root):
    """Draw the pages of a trial list with labels and of one without, and return both."""
    random = np.random.default_rng(0)
    scores, speakers = random.normal(size=40), random.integers(20, size=(40, 2))
    trials = ScoredTrials(scores, random.random(40) < 0.5, speakers)
    reports = {
        "trials.html": [report_scores(kind, trials) for kind in ("cosine", "normalized cosine")],
        "pairs.html": [report_pairs("cosine", scores)],
    }
    for name, report in reports.items():
        (root / name).write_text(trials_page("tag", "name", report), encoding="utf-8")
    return [root / name for name in reports]


@pytest.mark.parametrize("is_dark", [False, True])
def test_nothing_keeps_anybody_from_using_the_pages(tmp_path, browser, is_dark):
    window = Window(browser, WIDTHS[0], is_dark)
    for page in (*draw_all(tmp_path), *draw_trial_lists(tmp_path)):
        frame = window.open(page)
        for summary in frame.locator("summary").all():
            summary.press("Enter")
        assert frame.locator("figure").count() == frame.locator("figure details[open]").count()
        assert barriers(window) == []
    assert window.problems == []
    window.close()


def test_charts_have_their_numbers_as_tables(tmp_path, wide_window):
    frame = wide_window.open(draw(make_split(tmp_path, *make_voices(3, 4))))
    durations = frame.locator("figure", has=frame.locator("#durations"))
    durations.locator("summary").click()
    durations.locator("th").first.wait_for()
    assert durations.locator("th").all_inner_texts() == ["from", "to", "utterances"]
    assert durations.locator("tbody td:last-child").all_inner_texts() == ["1"] * 12
    points = frame.locator("figure", has=frame.locator("#map"))
    points.locator("summary").click()
    points.locator("td").first.wait_for()
    assert points.locator("tbody tr").count() == 12
    assert_within_width(frame)


def test_the_overview_shows_all_columns_and_leads_to_sections(tmp_path, window):
    _, overview = draw_all(tmp_path)
    frame = window.open(overview)
    for table in frame.locator(".table").all():
        assert table.evaluate("(one) => one.scrollWidth <= one.clientWidth")
    assert_within_width(frame)
    frame.get_by_role("link", name="1", exact=True).first.click()
    window.page.wait_for_url("**/train.report.html#failures")
    frame.locator("td", has_text="bad.wav").wait_for()


def test_tables_filter_by_all_words(tmp_path, wide_window):
    frame = wide_window.open(draw(labelled_split(tmp_path, 20)))
    assert len(shown_rows(frame, "failures")) == 20
    line = frame.locator("h2#failures ~ .filter").first
    line.get_by_label("Filter").fill("REASON 3 bad01")
    assert shown_rows(frame, "failures") == ["bad010", "bad013", "bad017"]
    line.get_by_label("Filter").fill("bad.wav 17")
    assert shown_rows(frame, "failures") == ["bad017"]
    assert line.get_by_role("status").inner_text() == "1 of 20 rows"
    assert len(shown_rows(frame, "suspects")) == 20
    line.get_by_label("Filter").fill("")
    assert len(shown_rows(frame, "failures")) == 20


def test_numbers_sort_by_their_value_and_unknown_ones_come_last(tmp_path, wide_window):
    rows = "".join(f"<tr><td>{n}</td></tr>" for n in ("10", UNKNOWN, "9.5", MINUS_ONE, "1,000"))
    header = '<table class="sortable"><thead><tr><th class="number">n</th></tr></thead>'
    table = f'<div class="table">{header}<tbody>{rows}</tbody></table></div>'
    html = draw(make_split(tmp_path, *make_voices(2, 2))).read_text()
    page = tmp_path / "page.html"
    page.write_text(html.replace("<h2", f'<h2 id="made"></h2>{table}<h2', 1))
    frame = wide_window.open(page)
    button = frame.locator("h2#made ~ .table").first.get_by_role("button")
    for expected in (
        [MINUS_ONE, "9.5", "10", "1,000", UNKNOWN],
        ["1,000", "10", "9.5", MINUS_ONE, UNKNOWN],
    ):
        button.click()
        assert shown_rows(frame, "made") == expected


def test_contents_and_counts_lead_to_sections(tmp_path, wide_window):
    failures = [FailureRow("bad", "bad.wav", "no audio")]
    config = make_split(tmp_path, *make_voices(3, 4), failures, min_seconds=1)
    write_excluded(Layout.of(config).excluded("train"), [ExcludedRow("short", "short.wav", 0.5)])
    frame = wide_window.open(draw(config))
    targets = frame.locator(".contents a").evaluate_all("(all) => all.map((one) => one.hash)")
    headings = frame.locator("h2").evaluate_all("(all) => all.map((one) => `#${one.id}`)")
    assert targets == headings
    for section, text in (("failures", "bad.wav"), ("excluded", "short.wav")):
        frame.locator(f".tiles a[href='#{section}']").click()
        assert frame.evaluate("location.hash") == f"#{section}"
        frame.locator("td", has_text=text).wait_for()
    assert_within_width(frame)


@pytest.mark.parametrize("is_dark", [False, True])
def test_texts_and_charts_stand_out_in_both_colour_schemes(tmp_path, browser, is_dark):
    window = Window(browser, WIDTHS[0], is_dark)
    frame = window.open(draw(make_split(tmp_path, *make_voices(10, 4))))
    ratios = contrasts(frame, "h1", "h2", "figcaption", "dt", "th", "td", "a")
    assert min(ratios.values()) >= 4.5, ratios
    assert pixel_contrast(window, "#map canvas") > 7
    lightness = frame.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (lightness != "rgb(255, 255, 255)") == is_dark
    assert window.problems == []
    window.close()


def test_pointing_at_an_utterance_lights_up_its_speaker(tmp_path, wide_window):
    speakers, embeddings = make_voices(30, 5)
    frame = wide_window.open(draw(make_split(tmp_path, speakers, embeddings)))
    before = marks_of(frame, "map")
    assert {mark["opacity"] for mark in before} == {before[0]["opacity"]}
    grey = {mark["fill"] for mark in before if mark["group"] == "others"}
    assert grey == {OTHERS_COLOUR}
    assert len({(mark["fill"], mark["group"]) for mark in before}) == 25
    speaker = next(mark["speaker"] for mark in before if mark["group"] == "others")
    point_at(wide_window, frame, "map", f"utt{int(speaker[-3:]) * 5:05d}")
    lit = [mark for mark in marks_of(frame, "map") if mark["opacity"] > 0.5]
    assert [mark["speaker"] for mark in lit] == [speaker] * 5
    assert {mark["fill"] for mark in lit}.isdisjoint(grey)


def shown_speakers(frame, chart):
    return {mark["speaker"] for mark in marks_of(frame, chart)}


def test_the_legend_hides_and_shows_speakers_by_mouse_and_keyboard(tmp_path, wide_window):
    page = draw(make_split(tmp_path, *make_voices(30, 5)), with_tsne=True)
    frame = wide_window.open(page)
    every = shown_speakers(frame, "map")
    legend = frame.locator(".legend").first
    first, second, *_ = legend.locator("[data-group]").all()
    speakers = [first.inner_text(), second.inner_text()]
    place = frame.evaluate("views.map.scale('x').domain()")
    first.click()
    second.focus()
    wide_window.page.keyboard.press("Space")
    for chart in ("map", "neighbours"):
        assert shown_speakers(frame, chart) == every - set(speakers)
    assert frame.evaluate("views.map.scale('x').domain()") == place
    # Both maps have a legend, which say the same.
    assert frame.locator(".legend [aria-pressed=false]").all_inner_texts() == speakers * 2
    wide_window.page.keyboard.press("Enter")
    assert shown_speakers(frame, "map") == every - {speakers[0]}
    legend.get_by_text("6 others").click()
    assert len(shown_speakers(frame, "map")) == 23
    for expected in (every, set(), every):
        legend.get_by_text("show or hide all").click()
        assert shown_speakers(frame, "map") == expected


def test_names_and_reasons_are_text(tmp_path, wide_window):
    speakers, embeddings = make_voices(3, 4)
    names = {"voice000": SCRIPT, "voice001": "話者・一", "voice002": "Анна & {{ 7 * 7 }} \"'`"}
    failures = [FailureRow("bad", f"{SCRIPT}.wav", SCRIPT)]
    config = make_split(tmp_path, [names[name] for name in speakers], embeddings, failures)
    frame = wide_window.open(draw(config))
    assert SCRIPT in point_at(wide_window, frame, "map", "utt00001")
    assert "話者・一" in point_at(wide_window, frame, "map", "utt00005")
    assert "{{ 7 * 7 }} \"'`" in point_at(wide_window, frame, "fit", "utt00009")
    assert frame.locator("img").count() == 0
    assert frame.locator("td", has_text=SCRIPT).count() > 2
    assert frame.locator("li", has_text=SCRIPT).count() == 1
    assert_within_width(frame)


def test_long_names_stay_within_the_width(tmp_path, wide_window):
    speakers, embeddings = make_voices(30, 4)
    names = [f"{name}_{'x' * 150}" for name in speakers]
    failures = [FailureRow("y" * 200, f"/{'z' * 200}.wav", "no audio") for _ in range(130)]
    frame = wide_window.open(draw(make_split(tmp_path, names, embeddings, failures)))
    assert_within_width(frame)
    assert "6 others" in frame.locator(".legend").first.inner_text()
    assert frame.locator("main td", has_text="no audio").count() == MAX_ROWS_SHOWN
    assert "The first 100 of 130" in frame.locator("main").inner_text()


def test_a_thousand_speakers(tmp_path, wide_window):
    speakers, embeddings = make_voices(1000, 3)
    frame = wide_window.open(draw(make_split(tmp_path, speakers, embeddings)))
    assert n_marks(frame, "map")["symbol"] == 3000
    assert "voice999" in point_at(wide_window, frame, "fit", "utt02999")
    assert_within_width(frame)


@pytest.mark.parametrize("speakers", [["a"], ["a", "a"], ["a", "b"], ["a"] * 6, list("abcdefg")])
@pytest.mark.parametrize("alike", [False, True])
def test_few_utterances(tmp_path, wide_window, speakers, alike):
    embeddings = make_voices(len(speakers), 1)[1]
    if alike:
        embeddings[:] = embeddings[0]
    config = make_split(tmp_path, speakers, embeddings)
    frame = wide_window.open(draw(config, with_tsne=True))
    assert n_marks(frame, "map")["symbol"] == len(speakers)
    assert speakers[-1] in point_at(wide_window, frame, "map", f"utt0000{len(speakers) - 1}")
    text = frame.locator("main").inner_text()
    assert "nan" not in text.lower().split()
    assert "None," not in text


def test_files_that_are_no_embeddings_and_shards_that_embedded_nothing(tmp_path, wide_window):
    config = make_split(tmp_path, *make_voices(3, 4), runner="xvectors.BaseRunner")
    for shard in SHARDS:
        write_marker(Layout.of(config).marker("train", shard), make_marker(n_written=0))
    frame = wide_window.open(draw(config))
    assert sorted(frame.evaluate("Object.keys(views)")) == ["durations"]
    assert "not speaker embeddings" in frame.locator("main").inner_text()
    assert "no speed was measured" in frame.locator("main").inner_text()


def test_many_shards_are_points(tmp_path, wide_window):
    config = make_split(tmp_path, *make_voices(3, 4))
    shards = shard_names(100)
    for i, shard in enumerate(shards):
        device = "cuda" if i % 3 else "cpu"
        marker = make_marker(wall_seconds=1 + i % 7, device=device, n_written=min(i, 10))
        write_marker(Layout.of(config).marker("train", shard), marker)
    draw_report(config, "train", shards)
    frame = wide_window.open(Layout.of(config).page("train"))
    assert n_marks(frame, "speeds") == {"symbol": 99}
    assert "The other 1 of 100 shards" in frame.locator("main").inner_text()


def test_no_utterance_at_all(tmp_path, wide_window):
    config = make_split(tmp_path, [], np.zeros((0, 4)), [FailureRow("a", "a.wav", "no audio")])
    frame = wide_window.open(draw(config))
    assert "No utterances were embedded" in frame.locator("main").inner_text()
    assert frame.locator("main tbody tr").count() == 1


def test_a_trial_list(tmp_path, wide_window):
    random = np.random.default_rng(0)
    is_target = random.random(4000) < 0.5
    scores = random.normal(size=4000) + 2 * is_target
    speakers = random.integers(20, size=(4000, 2))
    speakers[is_target, 1] = speakers[is_target, 0]
    trials = ScoredTrials(scores, is_target, speakers)
    page = tmp_path / "trials.html"
    reports = [
        report_scores("cosine", trials),
        report_scores("normalized cosine", trials._replace(scores=scores**3)),
    ]
    page.write_text(trials_page("tag", SCRIPT, reports), encoding="utf-8")
    frame = wide_window.open(page)
    assert 100 < n_marks(frame, "det")["symbol"] <= 2 * MAX_DET_POINTS
    assert n_colours(frame, "det") > 2
    assert n_marks(frame, "similarity0")["rect"] > 50
    assert n_marks(frame, "similarity1")["rect"] > 20
    tiles = frame.locator("main").inner_text()
    assert tiles.count("minDCF, prior 0.01") == tiles.count("minDCF, prior 0.05") == 2
    assert_within_width(frame)


def test_a_trial_list_without_errors(tmp_path, wide_window):
    speakers = np.array([[0, 0], [0, 1]])
    trials = ScoredTrials(np.array([0.9, 0.1]), np.array([True, False]), speakers)
    page = tmp_path / "trials.html"
    report = report_scores("cosine", trials)
    page.write_text(trials_page("tag", "name", [report]), encoding="utf-8")
    frame = wide_window.open(page)
    assert "0.00 %" in frame.locator(".tiles").inner_text()


def test_a_trial_list_without_labels(tmp_path, wide_window):
    page = tmp_path / "trials.html"
    scores = np.random.default_rng(0).normal(0.6, 0.1, 4000)
    page.write_text(trials_page("tag", SCRIPT, [report_pairs("cosine", scores)]), encoding="utf-8")
    frame = wide_window.open(page)
    marks = n_marks(frame, "pairs0")
    assert marks["rect"] > 30
    assert marks["rule"] >= 2
    assert "Similarity of 4,000 pairs" in frame.locator("main").inner_text()
    assert_within_width(frame)


def test_a_million_utterances(tmp_path, wide_window, capsys):
    speakers, embeddings = make_voices(200, 20)
    config = make_split(tmp_path, speakers, embeddings)
    folder = Layout.of(config).embeddings("train")
    write_embedded(
        Layout.of(config).table("train"),
        (
            EmbeddedRow(
                f"corpus_{i % 1000:04d}_{i:07d}",
                f"speaker{i % 1000:04d}",
                str(folder / f"utt{i % 1000 % 200 * 20 + i // 1000 % 20:05d}.pt"),
                1 + i % 160 / 10,
            )
            for i in range(1_000_000)
        ),
    )
    started = time.monotonic()
    page = draw(config)
    drawn = time.monotonic()
    frame = wide_window.open(page)
    opened = time.monotonic()
    marks = n_marks(frame, "map")
    assert marks["symbol"] == MAX_POINTS
    assert marks["rect"] > 500
    frame.locator(".legend").get_by_text("show or hide all").click()
    assert n_marks(frame, "map") == {**marks, "symbol": 0}
    caption = frame.locator("figcaption").first.inner_text()
    assert "a sample of 5,000 of the 1,000,000 utterances, by 250 of 1,000 speakers" in caption
    assert "where 20,000 random utterances of all lie" in caption
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with capsys.disabled():
        print(
            f"\na million utterances: {page.stat().st_size / 1e6:.2f} MB, made in "
            f"{drawn - started:.1f} s with {memory:.0f} MB, opened in {opened - drawn:.2f} s"
        )
