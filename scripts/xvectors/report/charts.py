"""Charts of the pages, made with Altair as Vega-Lite. They are as wide as the page."""

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from statistics import NormalDist
from typing import Any, NamedTuple

import altair as alt

from xvectors.report.embedding_space import Density
from xvectors.report.sampling import rank
from xvectors.report.split_report import Histogram, ShardSpeed
from xvectors.verification.score_summary import DetCurve, PairsReport, ScoreSummary

Spec = dict[str, Any]
# Paul Tol's "muted" scheme for readers with any colour vision
# (https://personal.sron.nl/~pault/data/colourschemes.pdf), without olive.
COLOURS = (
    "#332288",
    "#CC6677",
    "#44AA99",
    "#DDAA33",
    "#88CCEE",
    "#882255",
    "#117733",
    "#AA4499",
)
SHAPES = ("circle", "square", "triangle-up")
OTHERS = "others"
OTHERS_COLOUR = "#c3c7cc"
SAME_COLOUR = "#332288"
DIFFERENT_COLOUR = "#E0913C"
PLAIN_COLOUR = "#44709d"
INK = "#3c434b"
FAINT_INK = "#d9dde2"
# The page holds the utterances' data once. Charts refer to it by this name.
UTTERANCES = "utterances"
MAX_BARS = 32
DET_TICKS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
alt.theme.enable("none")


class Mark(NamedTuple):
    """Colour and shape of a speaker's utterances."""

    group: str
    colour: str
    shape: str


def marks(speakers: Collection[str]) -> dict[str, Mark]:
    """Return a distinct mark for each speaker, in the order of names, until marks run out.

    A mark follows from the speaker's name, so that the speaker looks the same on all pages. Where
    two speakers have the same, one of them takes another that is left.
    """
    every = [
        Mark(str(i), colour, shape) for i, (shape, colour) in enumerate(product(SHAPES, COLOURS))
    ]
    taken: dict[Mark, str] = {}
    ordered = sorted(speakers, key=rank)
    for speaker in ordered:
        taken.setdefault(every[rank(speaker) % len(every)], speaker)
    marked = set(taken.values())
    unmarked = (speaker for speaker in ordered if speaker not in marked)
    left = (mark for mark in every if mark not in taken)
    found = {speaker: mark for mark, speaker in taken.items()}
    found |= dict(zip(unmarked, left, strict=False))
    return dict(sorted(found.items()))


def utterance_map(
    x: str,
    y: str,
    titles: tuple[str, str] | None,
    used: Collection[Mark],
    extents: tuple[tuple[float, float], tuple[float, float]],
    *,
    shading: Density | None = None,
) -> Spec:
    """Return a map of the utterances. Pointing at one highlights all of its speaker.

    Its signal `hidden` lists the groups whose utterances are not shown.

    Args:
        x: Field of the utterances' data for the horizontal axis.
        y: Field for the vertical axis.
        titles: Titles of both axes. None if the coordinates have no meaning.
        used: The marks that occur. All other utterances are grey.
        extents: Lowest and highest values of both fields.
        shading: Density of more utterances than those of the data.

    """
    groups = [OTHERS, *(mark.group for mark in used)]
    pointed = alt.selection_point(
        name="pointed", fields=["speaker"], on="pointerover", clear="pointerout"
    )
    other_pointed = (
        f"pointed.speaker && datum.group == '{OTHERS}' && "
        "indexof(pointed.speaker, datum.speaker) >= 0"
    )
    hidden = alt.param(name="hidden", value=[])
    size = 70 if shading is None else 25
    # Axes stay as they are when utterances are hidden.
    scales = [alt.Scale(domain=extent, zero=False, nice=False, padding=16) for extent in extents]
    colours = alt.Scale(domain=groups, range=[OTHERS_COLOUR, *(m.colour for m in used)])
    axis = alt.Axis(tickCount=5, labels=titles is not None)
    title_x, title_y = titles or ("", "")
    chart = (
        alt.Chart(alt.NamedData(UTTERANCES))
        .transform_filter("indexof(hidden, datum.group) < 0")
        .mark_point(filled=True, size=size, strokeWidth=0.5, stroke="white")
        .encode(
            x=alt.X(x, type="quantitative", title=title_x, scale=scales[0], axis=axis),
            y=alt.Y(y, type="quantitative", title=title_y, scale=scales[1], axis=axis),
            color=alt.when(other_pointed)
            .then(alt.value(INK))
            .otherwise("group:N", scale=colours, legend=None),
            shape=alt.Shape(
                "group:N",
                scale=alt.Scale(domain=groups, range=["circle", *(m.shape for m in used)]),
                legend=None,
            ),
            opacity=alt.when(pointed).then(alt.value(0.9)).otherwise(alt.value(0.08)),
            size=alt.when(pointed, empty=False)
            .then(alt.value(2 * size))
            .otherwise(alt.value(size)),
            tooltip=_utterance_tooltip(),
        )
        .add_params(pointed, hidden)
    )
    if shading is None:
        return _spec(chart, height=460)
    return _spec(_shading(shading, scales) + chart, height=460)


def _shading(density: Density, scales: Sequence[alt.Scale]) -> alt.Chart:
    """Return the cells of a density that have utterances, darker where there are more."""
    (x_edges, y_edges, counts) = density
    rows = [
        {
            "x from": x_edges[i],
            "x to": x_edges[i + 1],
            "y from": y_edges[j],
            "y to": y_edges[j + 1],
            "utterances": counts[i, j].item(),
        }
        for i, j in zip(*counts.nonzero(), strict=True)
    ]
    chart: alt.Chart = (
        _chart(rows)
        .mark_rect(color=PLAIN_COLOUR)
        .encode(
            x=alt.X("x from:Q", scale=scales[0]),
            x2="x to:Q",
            y=alt.Y("y from:Q", scale=scales[1]),
            y2="y to:Q",
            opacity=alt.Opacity(
                "utterances:Q", scale=alt.Scale(type="sqrt", range=[0.06, 0.7]), legend=None
            ),
            tooltip=alt.Tooltip("utterances:Q", format=","),
        )
    )
    return chart


def fit_chart(diagonal: tuple[float, float]) -> Spec:
    """Return a scatter plot of similarity to the own speaker and to the nearest other one.

    `diagonal` is the start and the end of the line of equal similarities, which is omitted unless
    the start is below the end.
    """
    scale = alt.Scale(zero=False, padding=10)
    axis = alt.Axis(tickCount=8)
    points = (
        alt.Chart(alt.NamedData(UTTERANCES))
        .transform_filter("isValid(datum.own) && isValid(datum.other)")
        .mark_point(filled=True, size=45, opacity=0.7, strokeWidth=0.5, stroke="white")
        .encode(
            x=alt.X("other:Q", title="cosine to the nearest other speaker", scale=scale, axis=axis),
            y=alt.Y("own:Q", title="cosine to the own speaker", scale=scale, axis=axis),
            color=alt.condition(
                "datum.own < datum.other", alt.value(DIFFERENT_COLOUR), alt.value(SAME_COLOUR)
            ),
            tooltip=_utterance_tooltip(),
        )
    )
    if diagonal[0] >= diagonal[1]:
        return _spec(points, height=360)
    line = (
        _chart([{"own": end, "other": end} for end in diagonal])
        .mark_line(color=INK, strokeDash=[4, 4], strokeWidth=1)
        .encode(x="other:Q", y="own:Q")
    )
    return _spec(line + points, height=360)


def similarity_chart(summary: ScoreSummary, axis: str) -> Spec:
    """Return histograms of both kinds of scores, with the threshold at the equal error rate.

    `axis` is the title of the scores' axis.
    """
    kinds = {"same speaker": summary.same, "different speakers": summary.different}
    rows = [
        {"kind": kind, "from": low, "to": high, "percent": 100 * share}
        for kind, shares in kinds.items()
        for low, high, share in zip(summary.edges, summary.edges[1:], shares, strict=False)
        if share
    ]
    bars = (
        _chart(rows)
        .mark_bar(opacity=0.65, binSpacing=0)
        .encode(
            x=alt.X("from:Q", bin="binned", title=axis, scale=alt.Scale(zero=False)),
            x2="to:Q",
            y=alt.Y("percent:Q", stack=None, title="pairs of either kind, %"),
            color=alt.Color(
                "kind:N",
                scale=alt.Scale(domain=list(kinds), range=[SAME_COLOUR, DIFFERENT_COLOUR]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            tooltip=[
                alt.Tooltip("kind:N", title="pairs of"),
                alt.Tooltip("from:Q", format=".3f"),
                alt.Tooltip("to:Q", format=".3f"),
                alt.Tooltip("percent:Q", title="% of them", format=".2f"),
            ],
        )
    )
    if summary.equal_error is None:
        return _spec(bars, height=260)
    rule = (
        _chart([{"threshold": summary.equal_error.threshold}])
        .mark_rule(color=INK, strokeDash=[4, 4])
        .encode(x="threshold:Q", tooltip=alt.Tooltip("threshold:Q", format=".4f"))
    )
    return _spec(bars + rule, height=260)


def pairs_chart(report: PairsReport) -> Spec:
    """Return a histogram of the scores of pairs without labels, with mean and median."""
    axis = alt.X("from:Q", bin="binned", title=report.kind, scale=alt.Scale(zero=False))
    tooltip = [alt.Tooltip("from:Q", format=".3f"), alt.Tooltip("to:Q", format=".3f")]
    bars = _histogram(Histogram(report.edges, report.counts), "pairs", axis, tooltip, spacing=0)
    averages = [
        {"kind": "mean", "value": report.mean},
        {"kind": "median", "value": report.median},
    ]
    rules = (
        _chart(averages)
        .mark_rule(color=INK)
        .encode(
            x="value:Q",
            strokeDash=alt.StrokeDash(
                "kind:N",
                scale=alt.Scale(domain=["mean", "median"], range=[[1, 0], [4, 4]]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            tooltip=["kind:N", alt.Tooltip("value:Q", format=".4f")],
        )
    )
    return _spec(bars + rules, height=260)


def duration_chart(durations: Histogram) -> Spec:
    """Return a histogram of durations in seconds."""
    axis = alt.X("from:Q", bin="binned", title="duration, seconds")
    tooltip = [
        alt.Tooltip("from:Q", title="from, s", format=".2f"),
        alt.Tooltip("to:Q", title="to, s", format=".2f"),
    ]
    return _spec(_histogram(durations, "utterances", axis, tooltip, spacing=1), height=200)


def _histogram(
    histogram: Histogram, unit: str, axis: alt.X, tooltip: list[alt.Tooltip], *, spacing: int
) -> alt.Chart:
    """Return bars of a histogram of things that `unit` names."""
    bins = zip(histogram.edges, histogram.edges[1:], histogram.counts.tolist(), strict=False)
    rows = [{"from": low, "to": high, unit: count} for low, high, count in bins if count]
    bars = _chart(rows).mark_bar(color=PLAIN_COLOUR, binSpacing=spacing)
    chart: alt.Chart = bars.encode(
        x=axis,
        x2="to:Q",
        y=alt.Y(f"{unit}:Q", title=unit),
        tooltip=[*tooltip, alt.Tooltip(f"{unit}:Q", format=",")],
    )
    return chart


def speed_chart(speeds: Sequence[ShardSpeed]) -> Spec:
    """Return a chart of each shard's speed: bars for a few shards, else points."""
    rows = [{"number": int(speed.shard.partition("-")[0]), **speed._asdict()} for speed in speeds]
    base = _chart(rows).encode(
        color=alt.Color(
            "device:N",
            scale=alt.Scale(range=[PLAIN_COLOUR, *COLOURS[1:]]),
            legend=alt.Legend(title=None, orient="top"),
        ),
        tooltip=[
            alt.Tooltip("shard:N"),
            alt.Tooltip("n_written:Q", title="embedded", format=","),
            alt.Tooltip("utterances_per_second:Q", title="utterances per second", format=".1f"),
            alt.Tooltip("times_real_time:Q", title="times real time", format=".1f"),
            alt.Tooltip("device:N"),
            alt.Tooltip("precision:N"),
        ],
    )
    title = "seconds of audio per second"
    if len(rows) > MAX_BARS:
        points = base.mark_point(filled=True, size=40, opacity=0.8).encode(
            x=alt.X("number:Q", title="shard"), y=alt.Y("times_real_time:Q", title=title)
        )
        return _spec(points, height=240)
    shards = alt.Y("shard:N", sort=None, title=None)
    # Leave room for the label of the longest bar.
    room = alt.Scale(domain=[0, 1.3 * max(speed.times_real_time for speed in speeds)], nice=False)
    bars = base.mark_bar(height=16).encode(
        x=alt.X("times_real_time:Q", title=title, scale=room), y=shards
    )
    label = "format(datum.utterances_per_second, '.1f') + ' utterances/s'"
    labels = (
        base.transform_calculate(label=label)
        .mark_text(align="left", dx=6)
        .encode(x="times_real_time:Q", y=shards, text="label:N", color=alt.value(INK))
    )
    # Includes the height of the legend and the axis.
    return _spec(bars + labels, height=26 * len(rows) + 80)


def det_chart(curves: Mapping[str, DetCurve]) -> Spec:
    """Return DET curves for each kind of score. Axes are normal deviates, labelled in percent."""
    ticks = [NormalDist().inv_cdf(share) for share in DET_TICKS]
    rows = [
        {
            "kind": kind,
            "step": i,
            "x": x,
            "y": y,
            "false_alarms": 100 * alarms,
            "misses": 100 * miss,
        }
        for kind, curve in curves.items()
        for i, (alarms, miss, x, y) in enumerate(zip(*curve, strict=True))
    ]
    axis = alt.Axis(values=ticks, labelExpr="format(100 * cumulativeNormal(datum.value), '.3~g')")
    scale = alt.Scale(domain=[ticks[0], ticks[-1]], nice=False)
    base = _chart(rows).encode(
        x=alt.X("x:Q", title="false alarms, %", axis=axis, scale=scale),
        y=alt.Y("y:Q", title="misses, %", axis=axis, scale=scale),
        order="step:Q",
        color=alt.Color(
            "kind:N",
            scale=alt.Scale(domain=list(curves), range=list(COLOURS)),
            legend=alt.Legend(title=None, orient="top") if len(curves) > 1 else None,
        ),
    )
    tooltip = [
        alt.Tooltip("kind:N", title="score"),
        alt.Tooltip("false_alarms:Q", title="false alarms, %", format=".2f"),
        alt.Tooltip("misses:Q", title="misses, %", format=".2f"),
    ]
    line = base.mark_line(clip=True)
    # Invisible points are easier to hit with the pointer than a line.
    points = base.mark_point(filled=True, size=90, opacity=0, clip=True).encode(tooltip=tooltip)
    diagonal = (
        _chart([{"x": tick, "y": tick} for tick in (ticks[0], ticks[-1])])
        .mark_line(color=INK, strokeDash=[2, 4], strokeWidth=1)
        .encode(x="x:Q", y="y:Q")
    )
    return _spec(diagonal + line + points, height=520)


def _utterance_tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("utterance:N"),
        alt.Tooltip("speaker:N"),
        alt.Tooltip("seconds:Q", format=".2f"),
        alt.Tooltip("own:Q", title="cosine to own speaker", format=".3f"),
        alt.Tooltip("nearest:N", title="nearest other speaker"),
        alt.Tooltip("other:Q", title="cosine to it", format=".3f"),
    ]


def _chart(rows: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


def _spec(chart: alt.Chart | alt.LayerChart, height: int) -> Spec:
    font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
    chart = chart.properties(width="container", height=height)
    chart = chart.configure(
        font=font,
        background="transparent",
        autosize=alt.AutoSizeParams(type="fit", contains="padding"),
    )
    chart = chart.configure_view(stroke=None).configure_axis(
        labelColor=INK,
        titleColor=INK,
        titleFontWeight="normal",
        titleFontSize=13,
        labelFontSize=12,
        gridColor="#eceff2",
        domainColor=FAINT_INK,
        tickColor=FAINT_INK,
        titlePadding=8,
        labelBound=True,
    )
    chart = chart.configure_legend(labelFontSize=13, labelColor=INK, symbolOpacity=1)
    spec: Spec = chart.to_dict()
    return spec
