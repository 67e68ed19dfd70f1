"""What the pages point at is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.repository import ROOT

PAGES = (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
PATH = re.compile(r"`((?:services|pipeline|models|modelyard|deploy|docs|tests|benchmarks)/[\w./-]*)`")
FILE = re.compile(r"`((?!keras/)[\w./]+\.py)`")
FILES = [f"/{path.relative_to(ROOT)}" for path in ROOT.glob("[!.]*/**/*.py")]
DECISIONS = ROOT / "docs" / "decisions"
STATUS = re.compile(r"\d{4}-\d{2}-\d{2} · (accepted|replaced by \[\d{4}\]\([\w.-]+\))")


def missing(page: Path) -> Iterator[str]:
    """Links, headings, paths and ends of paths in a page that lead nowhere."""
    text = page.read_text()
    for link, heading in LINK.findall(text):
        target = page.parent / link if link else page
        if not target.exists() or (heading and heading not in headings(target)):
            yield f"{link}#{heading}"
    yield from (path for path in PATH.findall(text) if not (ROOT / path).exists())
    yield from (name for name in FILE.findall(text) if not any(file.endswith(f"/{name}") for file in FILES))


def headings(page: Path) -> set[str]:
    """As GitHub writes them into links."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(page.read_text())}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    """Those to files of this repository."""
    assert list(missing(page)) == []


def test_every_decision_has_a_date_and_a_status_and_is_listed() -> None:
    """The index repeats both."""
    index = (DECISIONS / "README.md").read_text()
    for page in DECISIONS.glob("0*.md"):
        title, _, status, _ = page.read_text().split("\n", 3)
        assert STATUS.fullmatch(status), page.name
        row = f"| [{page.name[:4]}]({page.name}) | {title[7:]} | {status.replace(' · ', ' | ')} |"
        assert row in index
