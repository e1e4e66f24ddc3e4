import base64
import gzip
import json
import re

import jinja2
import pytest

from xvectors.report import page
from xvectors.report.page import render


@pytest.fixture
def template(tmp_path, monkeypatch) -> str:
    (tmp_path / "page.html").write_text("<h1>{{ title }}</h1><script>{{ packed }}</script>")
    monkeypatch.setattr(page, "TEMPLATES", tmp_path)
    return "page.html"


def test_charts_and_data_are_packed_with_what_draws_them(template):
    chart, rows = {"map": {"mark": "point"}}, {"rows": [1, 2]}
    html = render(template, {"title": "a"}, chart, rows, {"utt": b"abc"})
    (packed,) = re.findall("<script>(.*)</script>", html)
    found = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert found.keys() == {"library", "charts", "data", "clips"}
    assert found["clips"] == {"utt": "YWJj"}
    assert "vegaEmbed" in found["library"]
    assert (found["charts"], found["data"]) == ({"map": {"mark": "point"}}, {"rows": [1, 2]})


def test_values_are_escaped_and_none_may_be_missing(template):
    html = render(template, {"title": "<script>alert(1)</script>"}, {}, {})
    assert "<h1>&lt;script&gt;alert(1)" in html
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render(template, {}, {}, {})


def test_the_same_numbers_give_the_same_page(template):
    assert render(template, {"title": "a"}, {}, {}) == render(template, {"title": "a"}, {}, {})
