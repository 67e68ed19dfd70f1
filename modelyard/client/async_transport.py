"""Carries out steps with httpx on an event loop. Only ``AsyncClient`` imports this, and with it asyncio."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import httpx

from modelyard.client.errors import ModelyardClientError
from modelyard.client.options import Options
from modelyard.client.steps import Emit, NextLine, Open, Reply, Request, Routine, Sleep, Step
from modelyard.client.transport import configure, make_arguments, make_reply, translate_error

T = TypeVar("T")


class AsyncTransport:
    """On an event loop: one pool of connections, for the tasks of one loop."""

    def __init__(self, options: Options) -> None:
        self.url = options.url
        self.http = httpx.AsyncClient(**configure(options))

    async def run(self, routine: Routine[T]) -> T:
        """As ``Transport.run``."""
        performer = _AsyncPerformer(self)
        try:
            step = next(routine)
            while True:
                try:
                    result = await performer.perform(step)
                except ModelyardClientError as error:
                    step = routine.throw(error)
                else:
                    step = routine.send(result)
        except StopIteration as end:
            found: T = end.value
            return found
        finally:
            await performer.close()

    async def iterate(self, routine: Routine[None]) -> AsyncIterator[Any]:
        """As ``Transport.iterate``."""
        performer = _AsyncPerformer(self)
        try:
            step = next(routine)
            while True:
                if isinstance(step, Emit):
                    yield step.value
                    step = next(routine)
                    continue
                try:
                    result = await performer.perform(step)
                except ModelyardClientError as error:
                    step = routine.throw(error)
                else:
                    step = routine.send(result)
        except StopIteration:
            return
        finally:
            routine.close()
            await performer.close()


class _AsyncPerformer:
    """As ``_Performer``."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._stack = AsyncExitStack()
        self._lines: AsyncIterator[str] | None = None

    async def perform(self, step: Step) -> Any:
        request = step.request if isinstance(step, Open) else step if isinstance(step, Request) else None
        try:
            if isinstance(step, Open):
                return await self._open(step.request)
            if request is not None:
                return await self._send(request)
            if isinstance(step, NextLine) and self._lines is not None:
                return await anext(self._lines, None)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise translate_error(error, self._transport.url, request.timeout_s if request else None) from error
        if isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
        return None

    async def _send(self, request: Request) -> Reply:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(request.timeout_s):  # httpx limits each read, not all of them together
                response = await self._transport.http.request(**make_arguments(request))
        except TimeoutError as error:
            raise httpx.ReadTimeout("the answer came too slowly") from error
        return make_reply(response, started, response.content)

    async def _open(self, request: Request) -> Reply:
        await self.close()
        started = time.perf_counter()
        response = await self._stack.enter_async_context(self._transport.http.stream(**make_arguments(request)))
        self._lines = aiter(response.aiter_lines())
        return make_reply(response, started, b"" if response.is_success else await response.aread())

    async def close(self) -> None:
        await self._stack.aclose()
