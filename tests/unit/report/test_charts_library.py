import pytest

from xvectors.report import charts_library
from xvectors.report.charts_library import charts_library as library

TEXT = "lines\r\nof ✓ script"


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """Count how often the library is bundled. The cache is in `tmp_path`."""
    calls = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(charts_library, "_bundle", lambda: calls.append(1) or TEXT)
    yield calls
    library.cache_clear()


def ask_anew() -> str:
    library.cache_clear()
    return library()


def test_it_is_bundled_once_per_user(bundled, tmp_path):
    assert ask_anew() == ask_anew()
    assert len(bundled) == 1
    assert ask_anew() == TEXT
    (kept,) = tmp_path.glob("xvectors/charts-*.js")
    kept.write_text(kept.read_text()[:-3])
    assert ask_anew() == TEXT
    assert len(bundled) == 2


def test_it_works_without_a_cache(bundled, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert ask_anew() == ask_anew()
    assert len(bundled) == 2
