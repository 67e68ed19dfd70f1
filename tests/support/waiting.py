"""How tests wait: for a condition, with a deadline that only a fault can miss."""

import time
from collections.abc import Callable
from typing import Any

import pytest

TIMEOUT_S = 60.0
"""For everything that comes soon on a machine with nothing else to do: beside a training it takes its time."""
POLL_S, MAX_POLL_S = 0.02, 0.3
LONG_TIMEOUTS = {
    "MODELYARD_PREDICT_TIMEOUT_S": "30",
    "MODELYARD_STATUS_TIMEOUT_S": "30",
    "MODELYARD_BODY_TIMEOUT_S": "60",
}
"""Of gateways whose tests are not about time: how busy the machine is says nothing about what they answer."""
PART = 0.05
"""A pause is this part of the time waited so far: long waits cost little, and end little later."""


def wait_until(condition: Callable[[], Any], deadline_s: float = TIMEOUT_S, what: str = "what was waited for") -> Any:
    """The first true value of ``condition``; fails the test if it has none within ``deadline_s``."""
    began = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - began
        if waited > deadline_s:
            pytest.fail(f"{what}: not within {deadline_s:.0f} s")
        time.sleep(min(max(POLL_S, PART * waited), MAX_POLL_S))
    return found
