"""A page whose measured part lies between two marks."""

from pathlib import Path


def replace_section(page: Path, name: str, text: str) -> None:
    """Puts ``text`` between ``<!-- name: begin -->`` and ``<!-- name: end -->``."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")
