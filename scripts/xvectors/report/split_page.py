"""The page of a split, with text, tables and charts."""

import logging
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xvectors.audio.clips import CLIP_SECONDS
from xvectors.config.layout import Layout
from xvectors.config.settings import Settings
from xvectors.files.atomic import remove_leftovers, write_atomically
from xvectors.report import charts
from xvectors.report.charts import OTHERS, OTHERS_COLOUR, UTTERANCES, Mark, Spec
from xvectors.report.embedding_space import Density
from xvectors.report.page import MAX_PAGE_BYTES, render
from xvectors.report.split_report import SpeakerView, SplitReport, gather
from xvectors.results.vectors import Floats
from xvectors.verification.error_rates import N_DRAWS

logger = logging.getLogger(__name__)

MAX_SPEAKERS = 20


def draw_report(settings: Settings, split: str, shards: list[str]) -> None:
    """Write the page of a split, ``<split>.report.html``. Arguments are those of `gather`.

    Raises:
        ShardError: A table, a marker or an embedding is missing or damaged.
        ManifestError: The split's manifest cannot be read.

    """
    page = Layout.of(settings).page(split)
    content = split_page(gather(settings, split, shards)).encode()
    write_atomically(page, content)
    remove_leftovers(page.parent, page.name)
    logger.info("%s: see %s", split, page)
    if len(content) > MAX_PAGE_BYTES:
        logger.warning(
            "%s: too large for Snakemake's report in Chromium. Open the file directly%s",
            page,
            ", or set xvector.report_audio to false" if settings.xvector.report_audio else "",
        )


def split_page(report: SplitReport) -> str:
    """Return the page of a split as HTML."""
    view = report.view
    specs: dict[str, Spec] = {}
    data: dict[str, Any] = {}
    legend: dict[str, Mark] = {}
    if report.totals.seconds:
        specs["durations"] = charts.duration_chart(report.durations)
    if report.speeds:
        specs["speeds"] = charts.speed_chart(report.speeds)
    if view is not None:
        legend = charts.marks(view.names)
        data[UTTERANCES] = _points(view, legend)
        specs |= _speaker_charts(view, legend.values(), report.density)
    return render(
        "split.html.j2",
        {
            "report": report,
            "files": Layout(Path()),
            "view": view,
            "legend": legend,
            "n_points": len(data.get(UTTERANCES, ())),
            "loose": view.loose_speakers(MAX_SPEAKERS) if view else [],
            "charts": specs,
            "others": OTHERS,
            "others_colour": OTHERS_COLOUR,
            "n_draws": N_DRAWS,
            "clip_seconds": CLIP_SECONDS,
        },
        specs,
        data,
        report.clips,
    )


def _speaker_charts(
    view: SpeakerView, used: Collection[Mark], shading: Density | None
) -> dict[str, Spec]:
    first, second = (f"({share:.1%} of the variance)" for share in view.projection.shares)
    titles = f"first component {first}", f"second component {second}"
    extents = _extents(view.projection.points[view.drawn], shading)
    specs = {"map": charts.utterance_map("pc1", "pc2", titles, used, extents, shading=shading)}
    if view.neighbours is not None:
        extents = _extents(view.neighbours)
        specs["neighbours"] = charts.utterance_map("tsne1", "tsne2", None, used, extents)
    if view.similarity is not None:
        specs["similarity"] = charts.similarity_chart(view.similarity, "cosine")
    if not np.isnan(view.fit.margin).all():
        own, other = view.fit.own, view.fit.nearest
        ends = max(np.nanmin(own), np.nanmin(other)), min(np.nanmax(own), np.nanmax(other))
        specs["fit"] = charts.fit_chart((float(ends[0]), float(ends[1])))
    return specs


def _extents(
    points: Floats, shading: Density | None = None
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the lowest and the highest value of both coordinates of what a map shows."""
    if shading is not None:
        corners = np.stack([shading.x_edges[[0, -1]], shading.y_edges[[0, -1]]], axis=1)
        points = np.concatenate([points, corners])
    low, high = points.min(axis=0), points.max(axis=0)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))


def _points(view: SpeakerView, legend: Mapping[str, Mark]) -> list[dict[str, Any]]:
    """Return the charts' data of each drawn utterance."""
    points = []
    for place, i in enumerate(view.drawn):
        row = view.rows[i]
        point = {
            "utterance": row.utt_id,
            "speaker": row.speaker_id,
            "group": legend[row.speaker_id].group if row.speaker_id in legend else OTHERS,
            "seconds": round(row.seconds, 2),
            "pc1": _rounded(view.projection.points[i, 0]),
            "pc2": _rounded(view.projection.points[i, 1]),
            "own": _rounded(view.fit.own[i]),
            "other": _rounded(view.fit.nearest[i]),
            "nearest": view.names[view.fit.nearest_speaker[i]] if len(view.names) > 1 else None,
        }
        if view.neighbours is not None:
            point["tsne1"], point["tsne2"] = map(_rounded, view.neighbours[place])
        points.append(point)
    # Grey points come first, so that they are drawn below the others.
    return sorted(points, key=lambda point: point["group"] != OTHERS)


def _rounded(number: float) -> float | None:
    """Return a number rounded to four digits, None for NaN, which JSON lacks."""
    return None if math.isnan(number) else float(f"{number:.4g}")
