"""Carries out steps with httpx, blocking."""

import ssl
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar

import httpx

from modelyard.client.errors import ConnectionBroken, InvalidInput, ModelyardClientError, TimedOut, Unreachable
from modelyard.client.options import Options
from modelyard.client.steps import Emit, NextLine, Open, Reply, Request, Routine, Sleep, Step

T = TypeVar("T")
CONNECT_S = 5.0
SILENCE_S = 45.0
"""Of a stream that has ended without a word: gateways send something every 15 s."""


def configure(options: Options) -> dict[str, Any]:
    """Arguments of httpx's clients. Without TLS no certificates are read, which would take longer than a request."""
    headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
    return {
        "base_url": options.url,
        "headers": headers,
        "trust_env": not options.is_loopback,
        "verify": True if options.url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        "limits": httpx.Limits(max_connections=options.max_connections),
    }


def translate_error(error: Exception, url: str, timeout_s: float | None) -> ModelyardClientError:
    """Our error for one of httpx."""
    if isinstance(error, httpx.InvalidURL):
        return InvalidInput(f"expected shorter names and values in the address: {error}")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
        return Unreachable(f"no gateway answers at {url} ({error or type(error).__name__})")
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(f"{url} did not answer within {timeout_s or SILENCE_S:.3g} s", status=0)
    return ConnectionBroken(f"the connection to {url} broke ({error or type(error).__name__})")


def make_arguments(request: Request) -> dict[str, Any]:
    """Of one request of httpx's."""
    total_s = request.timeout_s or SILENCE_S
    return {
        "method": request.method,
        "url": request.path,
        "params": request.query or None,
        "headers": request.headers,
        "content": request.body,
        "timeout": httpx.Timeout(total_s, connect=min(CONNECT_S, total_s)),
    }


def make_reply(response: httpx.Response, started: float, content: bytes) -> Reply:
    """The reply that routines understand."""
    headers: Mapping[str, str] = response.headers
    return Reply(response.status_code, headers, content, time.perf_counter() - started)


class Transport:
    """Blocking: one pool of connections, safe to share between threads."""

    def __init__(self, options: Options) -> None:
        self.url = options.url
        self.http = httpx.Client(**configure(options))
        weakref.finalize(self, self.http.close)  # of a client that nobody closes

    def run(self, routine: Routine[T]) -> T:
        """Carries out all steps of a routine; returns what it returns, or raises what it raises."""
        performer = _Performer(self)
        try:
            step = next(routine)
            while True:
                try:
                    result = performer.perform(step)
                except ModelyardClientError as error:
                    step = routine.throw(error)
                else:
                    step = routine.send(result)
        except StopIteration as end:
            found: T = end.value
            return found
        finally:
            performer.close()

    def iterate(self, routine: Routine[None]) -> Iterator[Any]:
        """What a routine emits, as it does."""
        performer = _Performer(self)
        try:
            step = next(routine)
            while True:
                if isinstance(step, Emit):
                    yield step.value
                    step = next(routine)
                    continue
                try:
                    result = performer.perform(step)
                except ModelyardClientError as error:
                    step = routine.throw(error)
                else:
                    step = routine.send(result)
        except StopIteration:
            return
        finally:
            routine.close()
            performer.close()


class _Performer:
    """The steps of one routine, which has one stream open at most."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stack = ExitStack()
        self._lines: Iterator[str] = iter(())

    def perform(self, step: Step) -> Any:
        request = step.request if isinstance(step, Open) else step if isinstance(step, Request) else None
        try:
            if isinstance(step, Open):
                return self._open(step.request)
            if request is not None:
                return self._send(request)
            if isinstance(step, NextLine):
                return next(self._lines, None)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise translate_error(error, self._transport.url, request.timeout_s if request else None) from error
        if isinstance(step, Sleep):
            time.sleep(step.seconds)
        return None

    def _send(self, request: Request) -> Reply:
        started, parts = time.perf_counter(), []
        with self._transport.http.stream(**make_arguments(request)) as response:
            for part in response.iter_bytes():  # httpx limits each read, not all of them together
                parts.append(part)
                if request.timeout_s and time.perf_counter() - started > request.timeout_s:
                    raise httpx.ReadTimeout("the answer came too slowly")
        return make_reply(response, started, b"".join(parts))

    def _open(self, request: Request) -> Reply:
        self.close()
        started = time.perf_counter()
        response = self._stack.enter_context(self._transport.http.stream(**make_arguments(request)))
        self._lines = response.iter_lines()
        return make_reply(response, started, b"" if response.is_success else response.read())

    def close(self) -> None:
        self._stack.close()
