import numpy as np
import pytest

from xvectors.report import charts
from xvectors.report.charts import (
    COLOURS,
    OTHERS,
    SHAPES,
    Mark,
    det_chart,
    duration_chart,
    fit_chart,
    marks,
    pairs_chart,
    similarity_chart,
    speed_chart,
    utterance_map,
)
from xvectors.report.embedding_space import Density
from xvectors.report.split_report import Histogram, ShardSpeed
from xvectors.verification.error_rates import ScoredTrials
from xvectors.verification.score_summary import DetCurve, report_pairs, report_scores


def values(spec: dict) -> list[dict]:
    """Return the rows that a chart holds itself, of all its layers."""
    return [row for rows in spec.get("datasets", {}).values() for row in rows]


def mark_types(spec: dict) -> list[str]:
    return [layer["mark"]["type"] for layer in spec.get("layer", [spec])]


SPEAKERS = [f"speaker{i}" for i in range(1000)]


def test_as_many_speakers_have_marks_as_can_be_told_apart():
    found = marks(SPEAKERS)
    assert len(found) == len(COLOURS) * len(SHAPES)
    assert len({(mark.colour, mark.shape) for mark in found.values()}) == len(found)
    assert len({mark.group for mark in found.values()}) == len(found)
    assert list(found) == sorted(found)
    assert marks(SPEAKERS[:20]).keys() == set(SPEAKERS[:20])


def test_a_speaker_has_the_same_mark_on_all_pages():
    every = marks(SPEAKERS)
    assert marks(SPEAKERS[::-1]) == every
    assert marks(list(every)) == every
    for speaker, mark in list(every.items())[:5]:
        assert marks([speaker]) == {speaker: mark}
        few = marks([speaker, "some", "others"])
        # Only a speaker that shares its mark may look different elsewhere.
        shared = {one for one in ("some", "others") if marks([one]) == {one: mark}}
        assert shared or few[speaker] == mark


def test_the_map_takes_its_rows_by_name_and_its_colours_from_the_marks():
    mark = Mark("7", "red", "square")
    spec = utterance_map("x", "y", None, [mark], ((0, 2), (-1, 1)))
    assert spec["data"] == {"name": "utterances"}
    shapes = spec["encoding"]["shape"]["scale"]
    assert shapes == {"domain": [OTHERS, "7"], "range": ["circle", "square"]}
    assert spec["encoding"]["x"]["axis"]["labels"] is False
    assert spec["encoding"]["y"]["scale"]["domain"] == [-1, 1]
    titled = utterance_map("x", "y", ("a", "b"), [], ((0, 1), (0, 1)))
    assert titled["encoding"]["y"]["title"] == "b"


def test_a_density_lies_below_the_points_of_the_map():
    density = Density(np.arange(3.0), np.arange(3.0), np.array([[0, 4], [1, 0]]))
    spec = utterance_map("x", "y", None, [], ((0, 2), (0, 2)), shading=density)
    assert mark_types(spec) == ["rect", "point"]
    assert [(row["x from"], row["y from"], row["utterances"]) for row in values(spec)] == [
        (0, 1, 4),
        (1, 0, 1),
    ]


@pytest.mark.parametrize(("diagonal", "types"), [((0, 1), ["line", "point"]), ((1, 1), ["point"])])
def test_the_line_of_equal_similarities(diagonal, types):
    spec = fit_chart(diagonal)
    assert mark_types(spec) == types
    assert values(spec) == [{"own": end, "other": end} for end in diagonal if len(types) > 1]


def test_histograms_of_both_kinds_and_the_threshold():
    trials = ScoredTrials(
        np.array([0.9, 0.8, 0.1, 0.2]),
        np.array([True, True, False, False]),
        np.array([[0, 0], [1, 1], [0, 1], [0, 1]]),
    )
    scores = report_scores("cosine", trials).scores
    spec = similarity_chart(scores, "cosine")
    assert mark_types(spec) == ["bar", "rule"]
    bars = [row for row in values(spec) if "kind" in row]
    assert {row["kind"] for row in bars} == {"same speaker", "different speakers"}
    for kind in ("same speaker", "different speakers"):
        assert sum(row["percent"] for row in bars if row["kind"] == kind) == pytest.approx(100)
    assert mark_types(similarity_chart(scores._replace(equal_error=None), "cosine")) == ["bar"]


def test_pairs_with_mean_and_median():
    spec = pairs_chart(report_pairs("cosine", np.array([0.0, 0.0, 0.75, 1.0])))
    assert mark_types(spec) == ["bar", "rule"]
    rows = values(spec)
    assert [row["pairs"] for row in rows if "pairs" in row] == [2, 1, 1]
    assert {row["kind"]: row["value"] for row in rows if "kind" in row} == {
        "mean": 0.4375,
        "median": 0.375,
    }


def test_durations_without_empty_bars():
    spec = duration_chart(Histogram(np.array([0.0, 1.0, 2.0, 3.0]), np.array([4, 0, 2])))
    assert values(spec) == [
        {"from": 0.0, "to": 1.0, "utterances": 4},
        {"from": 2.0, "to": 3.0, "utterances": 2},
    ]


@pytest.mark.parametrize("n_shards", [charts.MAX_BARS, charts.MAX_BARS + 1])
def test_many_shards_are_points(n_shards):
    speeds = [ShardSpeed(f"{k}-of-99", 1, 2.0, 3.0 + k, "cpu", "fp32") for k in range(n_shards)]
    spec = speed_chart(speeds)
    is_many = n_shards > charts.MAX_BARS
    assert mark_types(spec) == (["point"] if is_many else ["bar", "text"])
    assert {row["number"] for row in values(spec)} == set(range(n_shards))


def test_det_curves_have_a_legend_when_there_are_several():
    curve = DetCurve(*np.array([[0.1, 0.2], [0.3, 0.1], [-1.2, -0.8], [-0.5, -1.2]]))
    one, two = det_chart({"cosine": curve}), det_chart({"cosine": curve, "normalized": curve})
    drawn = [row for row in values(two) if "kind" in row]
    assert {row["kind"] for row in drawn} == {"cosine", "normalized"}
    assert {round(row["false_alarms"], 6) for row in drawn} == {10, 20}
    for spec, has_legend in ((one, False), (two, True)):
        legends = [
            layer["encoding"]["color"].get("legend")
            for layer in spec["layer"]
            if "color" in layer["encoding"]
        ]
        assert legends
        assert all((legend is not None) == has_legend for legend in legends)
