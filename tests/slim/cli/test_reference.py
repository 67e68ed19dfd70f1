"""The pages that are written from the code."""

import pytest

from modelyard.services.cli.reference.__main__ import PAGES, stale_pages
from tests.support.repository import ROOT


def test_the_pages_are_up_to_date() -> None:
    """``make docs`` writes them."""
    assert stale_pages(ROOT / "docs") == []


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_linked_from_the_readme(name: str) -> None:
    """Nobody finds the others."""
    assert f"(docs/{name})" in (ROOT / "README.md").read_text()
