"""Rendering of pages: a template with its charts and their JavaScript in one file.

A page opens without a network. Snakemake's report shows it as a data URI in a frame. Chromium
limits those to 2 MiB, so charts, clips and JavaScript are compressed. The browser decompresses
them.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from xvectors.report.charts import Spec
from xvectors.report.charts_library import charts_library

TEMPLATES = Path(__file__).parent / "templates"
# Stays below 2 MiB in base64.
MAX_PAGE_BYTES = 1_500_000


def render(
    template: str,
    values: dict[str, Any],
    charts: dict[str, Spec],
    data: dict[str, Any],
    clips: Mapping[str, bytes] | None = None,
) -> str:
    """Return a page as HTML.

    Args:
        template: Name of a template in the folder ``templates``.
        values: The template's variables. They are escaped.
        charts: Vega-Lite charts by the id of their element in the template.
        data: Rows that charts refer to by name.
        clips: MP3 clips for the players, by utterance.

    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    # Without charts, a page needs no library.
    packed = json.dumps(
        {
            "library": charts_library() if charts else "",
            "charts": charts,
            "data": data,
            "clips": {
                name: base64.b64encode(clip).decode() for name, clip in (clips or {}).items()
            },
        }
    )
    # No timestamp: the same numbers give the same page.
    zipped = base64.b64encode(gzip.compress(packed.encode(), mtime=0)).decode()
    return environment.get_template(template).render(**values, packed=zipped)
