"""Prometheus' text format, read as it is: prometheus_client's parser gives counters the ending ``_total``."""

import re
from collections.abc import Mapping

Series = tuple[str, frozenset[tuple[str, str]]]
"""Name and labels."""
SAMPLE = re.compile(r"^([\w:]+)(?:{(.*)})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


def read_samples(text: str) -> Mapping[Series, float]:
    """Values of all series; no value of a label has a quotation mark."""
    return {
        (name, frozenset(LABEL.findall(labels or ""))): float(value) for name, labels, value in SAMPLE.findall(text)
    }
