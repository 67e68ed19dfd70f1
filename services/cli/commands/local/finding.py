"""The result of one check of ``modelyard doctor``."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """The result of one check, and how to fix it."""

    level: Literal["ok", "note", "bad"]
    message: str
    remedy: str = ""
