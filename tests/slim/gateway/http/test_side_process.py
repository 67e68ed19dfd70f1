"""The process that reads large bodies: a real one."""

import asyncio
import os
import signal
import time

import numpy as np
import pytest

from modelyard.services.gateway.codecs import json_syntax
from modelyard.services.gateway.codecs.tfs_json import parse
from modelyard.services.gateway.http.errors import InvalidRequest
from modelyard.services.gateway.http.side_process import SideProcess, SideProcessEnded
from modelyard.services.gateway.settings import GatewaySettings


def test_results_and_errors_come_back_and_the_loop_goes_on_meanwhile() -> None:
    """Arrays as they are, errors with their text; a call of another function takes its turn."""

    async def run() -> None:
        side = SideProcess()
        try:
            arrays = await side.run(np.arange, 1_000_000)
            assert (arrays == np.arange(1_000_000)).all()
            with pytest.raises(InvalidRequest, match="JSON Parse error"):
                await side.run(parse, b"{", GatewaySettings())
            sleeping = asyncio.create_task(side.run(time.sleep, 0.2))
            await asyncio.sleep(0)
            assert await side.run(os.getpid) != os.getpid()
            assert sleeping.done()
        finally:
            await side.close()

    asyncio.run(run())


def test_a_process_that_ends_fails_one_call_and_the_next_one_gets_another() -> None:
    """As when it runs out of memory: 503 for whoever was there."""

    async def run() -> None:
        side = SideProcess()
        try:
            first = await side.run(os.getpid)
            with pytest.raises(SideProcessEnded) as ended:
                await side.run(os.kill, first, signal.SIGKILL)
            assert ended.value.status == 503
            assert await side.run(os.getpid) != first
        finally:
            await side.close()

    asyncio.run(run())


def test_what_nobody_waits_for_any_more_is_not_run() -> None:
    """A client that has gone costs nothing but what was begun."""

    async def run() -> None:
        side = SideProcess()
        try:
            begun = asyncio.create_task(side.run(time.sleep, 0.2))
            gone = asyncio.create_task(side.run(time.sleep, 3600))
            await asyncio.sleep(0)
            gone.cancel()
            await begun
            assert await side.run(os.getpid)
        finally:
            await side.close()

    asyncio.run(run())


def test_strings_without_an_end_are_skipped_in_one_pass() -> None:
    """Each escaped quote could begin one: looked for from each, this took hours. The test's limit is its end."""
    for unit in (b'\\"', b"\\\\", b'"\\', b'\\"['):
        assert json_syntax.measure(b'{"instances":["' + unit * 500_000).depth <= 500_002
    assert json_syntax.measure(rb'["a]\"[[[", [["\\"]]]').depth == 3
