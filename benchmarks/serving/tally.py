"""What a load generator counted, in numbers. Only right answers count."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

MAX_ERROR_TEXTS = 5


@dataclass
class Tally:
    """What came back in the measured window."""

    latencies_s: list[float] = field(default_factory=list)
    wrong: int = 0
    errors: int = 0
    texts: Counter[str] = field(default_factory=Counter)

    def failed(self, text: str) -> None:
        self.errors += 1
        if len(self.texts) < MAX_ERROR_TEXTS or text in self.texts:
            self.texts[text] += 1


def percentile(ordered: list[float], share: float) -> float | None:
    """Nearest rank: the smallest value that at least ``share`` of all are no greater than; None of nothing."""
    if not ordered:
        return None
    rank = -int(-share * len(ordered) // 1)  # ceiling
    return ordered[max(rank, 1) - 1]


def report(tally: Tally, took_s: float) -> dict[str, Any]:
    """Numbers of one window; only right answers count."""
    ordered = sorted(tally.latencies_s)
    in_ms = {f"p{share}_ms": percentile(ordered, share / 100) for share in (50, 95, 99)}
    return {
        "right": len(ordered),
        "rps": len(ordered) / took_s,
        **{name: value * 1000 if value is not None else None for name, value in in_ms.items()},
        "errors": tally.errors,
        "wrong": tally.wrong,
        "error_texts": dict(tally.texts),
    }
