"""What the pages point at is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.repository import ROOT

PAGES = (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:services|pipeline|models|modelyard|deploy|docs|tests|benchmarks)/[\w./-]*)`")
DECISIONS = ROOT / "docs" / "decisions"
STATUS = re.compile(r"\d{4}-\d{2}-\d{2} · (accepted|replaced by \[\d{4}\]\([\w.-]+\))")


def missing(page: Path) -> Iterator[str]:
    """Links and paths in a page that lead nowhere."""
    text = page.read_text()
    yield from (link for link in LINK.findall(text) if not (page.parent / link).exists())
    yield from (path for path in PATH.findall(text) if not (ROOT / path).exists())


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
