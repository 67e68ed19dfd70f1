"""``AsyncClient`` as tests of ``Client`` use it: each coroutine runs to its end."""

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

from modelyard.client import AsyncClient, Client

KINDS = {"blocking": Client, "asynchronous": AsyncClient}


class Twin:
    """A client, or a group of its methods, on an event loop of its own."""

    def __init__(self, inner: Any, runner: asyncio.Runner) -> None:
        self._inner, self._runner = inner, runner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if type(found).__module__ == "modelyard.client.groups":
            return Twin(found, self._runner)
        if not callable(found):
            return found
        return lambda *args, **kwargs: self._finish(found(*args, **kwargs))

    def _finish(self, found: Any) -> Any:
        if inspect.iscoroutine(found):
            return self._runner.run(found)
        if isinstance(found, AsyncClient):
            return Twin(found, self._runner)
        return self._iterate(found) if hasattr(found, "__anext__") else found

    def _iterate(self, found: Any) -> Iterator[Any]:
        try:
            while True:
                yield self._runner.run(anext(found))
        except StopAsyncIteration:
            return
        finally:
            self._runner.run(found.aclose())


def open_client(kind: str, runner: asyncio.Runner, *args: Any, **kwargs: Any) -> Any:
    """A client of either kind, with blocking methods."""
    client = KINDS[kind](*args, **kwargs)
    return client if kind == "blocking" else Twin(client, runner)
