"""Lines of the log: one JSON object each, and those of requests written once per turn of the event loop."""

import json
import subprocess
import sys
from typing import Any

PROGRAM = """
import asyncio
from services import logs

logs.configure("gateway", "{level}")

async def turn():
    logs.write_soon("request", route="/a", status=200)
    logs.write_soon("request", route="/b", status=503)
    logs.get_logger().info("between")

logs.write_soon("outside")
asyncio.run(turn())
"""


def print_logs(level: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(level=level)], capture_output=True, text=True, check=True, timeout=300
    )
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_lines_of_a_turn_come_after_it_and_in_order() -> None:
    """Each has all that an ordinary line has."""
    lines = print_logs("info")
    assert [line["event"] for line in lines] == ["outside", "between", "request", "request"]
    assert [line.get("route") for line in lines] == [None, None, "/a", "/b"]
    assert all(line.keys() >= {"process", "level", "timestamp"} for line in lines)
    assert {(line["process"], line["level"]) for line in lines} == {("gateway", "info")}
    assert len({len(line["timestamp"]) for line in lines}) == 1


def test_a_higher_level_leaves_them_out() -> None:
    """As any other line of theirs."""
    assert print_logs("warning") == []
