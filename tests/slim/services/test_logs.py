"""Lines of the log: one JSON object each, and those of requests written once per turn of the event loop."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelyard.services.logs import LogStream

PROGRAM = """
import asyncio
from modelyard.services import logs

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


@pytest.mark.parametrize("level", ["info", "warning"])
def test_a_log_whose_disk_is_full_ends_no_process(level: str) -> None:
    """Lines of requests, and all others."""
    with Path("/dev/full").open("wb") as full:
        subprocess.run([sys.executable, "-c", PROGRAM.format(level=level)], check=True, stderr=full, timeout=300)


class Disk(io.BytesIO):
    """Room for so many bytes."""

    room = 0

    def write(self, data: Any) -> int:
        taken = bytes(data)[: self.room]
        if not taken:
            raise OSError
        self.room -= len(taken)
        return super().write(taken)


def test_lines_that_cannot_be_written_are_counted_and_the_next_one_begins_anew() -> None:
    """The disk was full in the middle of a line."""
    disk = Disk()
    stream = LogStream(disk)
    disk.room = 8
    for line in (b"first\n", b"second\n", b"third\n"):
        assert stream.write(line) == len(line)
    disk.room = 100
    stream.write(b"fourth\n")
    assert disk.getvalue() == b"first\nse\nfourth\n"
    assert stream.dropped_lines == 2


JOB_LOG = """
import os
from modelyard.services.trainer.job_log import JobLog

reading, writing = os.pipe()
recorded = []
log = JobLog(os.fdopen(reading, "rb"), recorded.append)
os.write(writing, b"loss: 0.5")
os.close(writing)
log.close()
assert "".join(recorded) == "loss: 0.5", recorded
"""


def test_a_jobs_output_is_recorded_where_the_workers_log_is_full() -> None:
    """A reader that ended would let the job wait for ever."""
    with Path("/dev/full").open("wb") as full:
        subprocess.run([sys.executable, "-c", JOB_LOG], check=True, stderr=full, timeout=300)
