"""A browser for the tests of pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from .browser import WIDTHS, Window, reason_to_skip, running_browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark this folder's tests."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; skips where there is none."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    with running_browser() as running:
        yield running


@pytest.fixture(params=WIDTHS)
def window(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Window]:
    """A window of either width, in which nothing must go wrong."""
    yield from _watched(Window(browser, request.param))


@pytest.fixture
def wide_window(browser: Browser) -> Iterator[Window]:
    """A window, in which nothing must go wrong, for what has nothing to do with its width."""
    yield from _watched(Window(browser, WIDTHS[0]))


def _watched(window: Window) -> Iterator[Window]:
    yield window
    window.close()
    assert window.problems == []
