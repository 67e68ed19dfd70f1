"""Blocks of Python in our pages, run as a reader would run them: from top to bottom, in one namespace."""

import contextlib
import io
import re
from typing import Any

from tests.support.repository import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(page: str, section: str = "") -> list[str]:
    """The blocks of a page, or of the section with this heading."""
    text = (ROOT / page).read_text()
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return BLOCK.findall(text)


def run_blocks(blocks: list[str], replaced: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """What the blocks print, and their names; each text in ``replaced`` must occur, and is replaced."""
    names: dict[str, Any] = {"__name__": "page"}
    printed = io.StringIO()
    whole = "\n".join(blocks)
    for text, other in replaced.items():
        assert text in whole, text
        whole = whole.replace(text, other)
    with contextlib.redirect_stdout(printed):
        exec(compile(whole, "page", "exec"), names)
    return printed.getvalue(), names
