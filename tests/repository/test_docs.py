"""The documents: links, anchors and paths that they name exist."""

import re
import unicodedata
from pathlib import Path

import pytest

from tests.support.checkout import REPOSITORY

FOLDERS = ("scripts", "workflow", "tests", "docs", "envs", "config", "profiles")
ROOMS = REPOSITORY / "scripts" / "xvectors"
PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / "config").rglob("*.md"),
    ]
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
# `scripts/...` from the repository, or `encoders/...` from the package.
PATH = re.compile(r"[\w.-]+(/[\w.-]+)*\.(py|smk|yaml|md|txt|lock|toml|json)|[\w-]+/([\w-]+/)*")


def without_code_blocks(text: str) -> str:
    """Return a page without its fenced and indented code."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", without_code_blocks(page.read_text()), re.MULTILINE):
        words = "".join(
            letter
            for letter in title.lower().replace("`", "")
            if letter in " -_" or unicodedata.category(letter)[0] in "LN"
        )
        found.add(words.strip().replace(" ", "-"))
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_anchors_resolve(page):
    broken = []
    for target in LINK.findall(without_code_blocks(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_in_code_exist(page):
    missing = []
    for code in CODE.findall(without_code_blocks(page.read_text())):
        room = code.split("/")[0]
        is_ours = room in FOLDERS or (code.endswith(".py") and (ROOMS / room).is_dir())
        if "/" not in code or not is_ours or not PATH.fullmatch(code):
            continue
        places = (REPOSITORY / code, ROOMS / code, page.parent / code)
        if not any(place.exists() for place in places):
            missing.append(code)
    assert missing == []


def test_the_search_for_broken_links_finds_them(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `code` title, once\n\n    # no title\n\n[x](#a-code-title-once)\n")
    assert anchors(page) == {"a-code-title-once"}
    assert LINK.findall(without_code_blocks(page.read_text())) == ["#a-code-title-once"]


def test_every_page_is_reached_from_the_readme():
    reached, waiting = set(), [REPOSITORY / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in LINK.findall(without_code_blocks(page.read_text())):
            linked = (page.parent / target.partition("#")[0]).resolve()
            if linked.suffix == ".md" and linked.is_file():
                waiting.append(linked)
    assert {name_of(page) for page in PAGES} - {name_of(page) for page in reached} == set()
