"""Debian's Chromium, without a window and without a network, driven by Playwright."""

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Frame, Page, sync_playwright

from tests.support.debian import DebianError, install

PACKAGES = ("chromium", "fonts-dejavu-core", "fonts-wqy-microhei")
PROGRAM = "chromium"
WIDTHS = (1280, 700, 1800)
HEIGHT = 900
WAIT_MS = 20_000
# The contrast of two colours after WCAG 2.2, for the scripts below.
CONTRAST = """
    window.contrast = (...colours) => {
        const [low, high] = colours.map((colour) => {
            const [r, g, b] = colour.map((one) => one / 255)
                .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        }).sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
"""


def reason_to_skip() -> str:
    """Return why this machine has no Chromium, an empty text if it has; installs it if it can."""
    if shutil.which(PROGRAM):
        return ""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return f"no {PROGRAM} here, and only root on Debian can install it"
    try:
        install(PACKAGES)
    except DebianError as error:
        return f"{PROGRAM} cannot be had: {error}"
    return ""


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Chromium until the context ends."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(PROGRAM), args=arguments)
        yield browser
        browser.close()


class Window:
    """A window of the browser, offline, which notes what goes wrong in it."""

    def __init__(self, browser: Browser, width: int, is_dark: bool = False) -> None:
        context = browser.new_context(
            viewport={"width": width, "height": HEIGHT},
            offline=True,
            color_scheme="dark" if is_dark else "light",
        )
        self.page: Page = context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.page.add_init_script(CONTRAST)
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: Path) -> Frame:
        """Open a page and return it when its pictures are drawn."""
        self.page.goto(path.as_uri())
        return wait_until_drawn(self.page.main_frame)

    def open_in_snakemakes_report(self, path: Path, split: str) -> Frame:
        """Open Snakemake's report, go to the page of a split, and return it when drawn."""
        self.page.goto(path.as_uri())
        self.page.locator("nav").get_by_text("Results", exact=True).click()
        self.page.locator("nav tr", has_text=split).locator("a").first.click()
        frame = self.page.locator("iframe").element_handle().content_frame()
        assert frame is not None
        return wait_until_drawn(frame)

    def close(self) -> None:
        """Close the window."""
        self.page.context.close()

    def _note(self, message: object) -> None:
        text = getattr(message, "text", "")
        # Snakemake's own page has it.
        if "cdn.tailwindcss.com" not in text:
            self.problems.append(text)


def wait_until_drawn(frame: Frame) -> Frame:
    """Return a frame when all of its charts are drawn."""
    frame.wait_for_selector("body[data-drawn], .problem", state="attached")
    return frame


def barriers(window: Window) -> list[str]:
    """Return what axe-core finds on a page that keeps somebody from using it, and where."""
    found = Axe().run(window.page).response["violations"]
    return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


def n_marks(frame: Frame, chart: str) -> dict[str, int]:
    """Return how many items each kind of mark has in a chart's scene: symbols, rects, ..."""
    counts: dict[str, int] = frame.evaluate(
        """(chart) => {
            const counts = {};
            const walk = (mark) => {
                if (mark.marktype !== "group" && mark.role === "mark")
                    counts[mark.marktype] = (counts[mark.marktype] ?? 0) + mark.items.length;
                for (const item of mark.items) (item.items ?? []).forEach(walk);
            };
            walk(views[chart].scenegraph().root);
            return counts;
        }""",
        chart,
    )
    return counts


def marks_of(frame: Frame, chart: str) -> list[dict[str, Any]]:
    """Return speaker, group, fill and opacity of the marks that stand for utterances."""
    found: list[dict[str, Any]] = frame.evaluate(
        """(chart) => {
            const found = [];
            const walk = (item) => {
                if (item.datum?.utterance)
                    found.push({
                        speaker: item.datum.speaker,
                        group: item.datum.group,
                        fill: item.fill,
                        opacity: item.opacity,
                    });
                (item.items ?? []).forEach(walk);
            };
            walk(views[chart].scenegraph().root);
            return found;
        }""",
        chart,
    )
    return found


def n_colours(frame: Frame, chart: str) -> int:
    """Return how many colours the pixels of a chart's canvas have: one if nothing is drawn."""
    number: int = frame.evaluate(
        """(chart) => {
            const canvas = document.querySelector(`#${chart} canvas`);
            const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(image.data.buffer)).size;
        }""",
        chart,
    )
    return number


def contrasts(frame: Frame, *selectors: str) -> dict[str, float]:
    """Return the contrast of elements' text with the page's background."""
    found: dict[str, float] = frame.evaluate(
        """(selectors) => {
            const numbers = (colour) => colour.match(/\\d+/g).slice(0, 3).map(Number);
            const paper = numbers(getComputedStyle(document.body).backgroundColor);
            return Object.fromEntries(selectors.map((one) => [
                one, contrast(paper, numbers(getComputedStyle(document.querySelector(one)).color)),
            ]));
        }""",
        selectors,
    )
    return found


def pixel_contrast(window: Window, selector: str) -> float:
    """Return the largest contrast with the first pixel of what the screen shows of an element."""
    picture = base64.b64encode(window.page.locator(selector).screenshot()).decode()
    found: float = window.page.evaluate(
        """async (picture) => {
            const image = new Image();
            image.src = `data:image/png;base64,${picture}`;
            await image.decode();
            const canvas = new OffscreenCanvas(image.width, image.height);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const { data } = context.getImageData(0, 0, image.width, image.height);
            let most = 0;
            for (let i = 0; i < data.length; i += 4)
                most = Math.max(most, contrast([...data.slice(0, 3)], [...data.slice(i, i + 3)]));
            return most;
        }""",
        picture,
    )
    return found


def point_at(window: Window, frame: Frame, chart: str, utterance: str) -> str:
    """Move the pointer to an utterance's point and return what the tooltip says."""
    canvas = frame.locator(f"#{chart} canvas")
    canvas.scroll_into_view_if_needed()
    x, y = frame.evaluate(
        """([chart, utterance]) => {
            const view = views[chart];
            let found = null;
            const walk = (mark, x, y) => {
                for (const item of mark.items ?? []) {
                    if (mark.marktype === "group")
                        for (const inner of item.items) walk(inner, x + item.x, y + item.y);
                    else if (item.datum?.utterance === utterance && mark.marktype === "symbol")
                        found = [x + item.x, y + item.y];
                }
            };
            const [x, y] = view.origin();
            const { left, top } = view.padding();
            walk(view.scenegraph().root, left + x, top + y);
            return found;
        }""",
        [chart, utterance],
    )
    box = canvas.bounding_box()
    assert box is not None
    window.page.mouse.move(box["x"] + x, box["y"] + y, steps=5)
    tooltip = frame.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    return tooltip.inner_text()
