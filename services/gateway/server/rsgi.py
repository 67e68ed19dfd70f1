"""The RSGI app: from granian's RSGI (https://github.com/emmett-framework/granian, docs/spec/RSGI.md) to Flask's WSGI.

It authenticates and admits a request before the body is read, limits the time and size of the body while it arrives,
and chooses where the application runs. Predictions run on the event loop's thread, as greenlets that yield while they
wait; everything else may block on a disk or a database, and gets a thread.
"""

import asyncio
import contextlib
import contextvars
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from granian.rsgi import ProtocolClosed, ProtocolError  # type: ignore[attr-defined]  # not exported

from modelyard.models.errors import ModelyardError
from modelyard.services import logs
from modelyard.services.gateway import access_log
from modelyard.services.gateway.auth.browsers import locate_sign_in, wants_page
from modelyard.services.gateway.auth.guard import SIGN_IN, SIGN_IN_LIMIT, Guard, Unauthenticated
from modelyard.services.gateway.auth.principal import EVERYBODY, NOBODY, Principal
from modelyard.services.gateway.http.body import HttpRequest, HttpResponse
from modelyard.services.gateway.http.client_address import CLIENT, find_client_address
from modelyard.services.gateway.http.cors import cors_headers
from modelyard.services.gateway.http.deadline import parse_timeout_s
from modelyard.services.gateway.http.errors import InvalidRequest, encode_error, render_error
from modelyard.services.gateway.http.greenlets import EventLoop, run_in_greenlet
from modelyard.services.gateway.http.headers import (
    CLASS_HEADER,
    CLIENT_HEADER,
    JSON_HEADERS,
    STREAMED,
    HeaderList,
    Headers,
    media_type,
)
from modelyard.services.gateway.http.origins import Origins
from modelyard.services.gateway.http.paths import ModelPath, match_prediction
from modelyard.services.gateway.limits.rate_limits import RateLimits
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.server.admission import Admission, LoopLag
from modelyard.services.gateway.server.closing import add_close
from modelyard.services.gateway.server.loop_holds import LoopHolds
from modelyard.services.gateway.server.refused import (
    Refused,
    check_address,
    check_headers,
    make_limit_error,
    make_overload_error,
    make_refusal,
    make_share_error,
)
from modelyard.services.gateway.server.rsgi_body import BodyReader, StreamedBody
from modelyard.services.gateway.server.wsgi_bridge import Wsgi, WsgiResponse, call_wsgi, make_body_environ, make_environ
from modelyard.services.gateway.settings import GatewaySettings

log = logs.get_logger()

FastPath = Callable[[ModelPath, str, HttpRequest, Principal], Awaitable[HttpResponse | None]]
"""``inference.fast_path.FastPath.respond``: path, query, request and principal of a prediction."""
TOO_LARGE = 413
NON_BLOCKING = re.compile(r"/healthz|/livez|/api/jobs/[^/]+/events")
"""Paths besides predictions that never block the loop's thread."""


class RsgiApp:
    """The RSGI application around the WSGI one."""

    def __init__(
        self,
        app: Wsgi,
        settings: GatewaySettings,
        loop: EventLoop,
        fast_path: FastPath,
        metrics: Metrics,
        limits: RateLimits,
        guard: Guard | None = None,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        """``guard``: None where there are no keys. ``draining``: whether the process is shutting down."""
        self._draining = draining
        self._limits = limits
        self._app = app
        self._fast_path = fast_path
        self._guard = guard
        self._origins = Origins(settings)
        self._settings = settings
        self._loop = loop
        self.admission = Admission(settings.max_in_flight, client_share=settings.key_share)
        self._lag = LoopLag()
        self._metrics = metrics
        self._holds = LoopHolds(metrics.loop_holds.observe)
        metrics.longest_loop_hold.set_function(self._holds.longest_s)
        self._threads = ThreadPoolExecutor(settings.threads, "view")
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._bodies = BodyReader(settings)

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """One request: a task, with a context of its own."""
        request_id = access_log.choose_request_id(scope.headers.get("x-request-id") or "")
        logs.bind_request(request_id)
        self._holds.start()
        self._in_flight += 1
        self._idle.clear()
        try:
            await self._admit(scope, request_id, protocol)
        except Refused as refused:
            await self._refuse(refused, scope, request_id, protocol)
        except ProtocolClosed:
            log.info("client gone before its response")
        except Exception as error:  # noqa: BLE001  # the outermost boundary: granian would respond without a body
            status, headers, body = render_error(error, request_id)
            found = access_log.end_refused(self._metrics, request_id, scope.method, scope.path, status)
            with contextlib.suppress(ProtocolClosed, ProtocolError):  # a part of the response was sent
                protocol.response_bytes(status, self._add_close([*headers, *found]), body)
        finally:
            self._holds.finish()
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def _refuse(self, refused: Refused, scope: Any, request_id: str, protocol: Any) -> None:
        """Responds. Refused bodies are logged; the guard logs its own, and overload would fill the log."""
        found = access_log.end_refused(self._metrics, request_id, scope.method, scope.path, refused.status)
        cors = cors_headers(scope.path, scope.headers.get("origin"), self._settings.cors_origins)
        headers = self._add_close([*JSON_HEADERS, *found, *cors.items(), *refused.headers.items()])
        protocol.response_bytes(refused.status, headers, encode_error(str(refused)))
        if refused.unread:
            await self._bodies.discard(scope, protocol)
        if not refused.unread or refused.status == TOO_LARGE:
            log.info("request refused", status=refused.status, method=scope.method, cause=str(refused))

    async def wait_until_idle(self, timeout_s: float) -> bool:
        """Returns when no request is in flight; False if that takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def _admit(self, scope: Any, request_id: str, protocol: Any) -> None:
        check_address(scope)
        address = self._find_address(scope)
        principal = self._authenticate(scope, self._guard, address) if self._guard else EVERYBODY
        path = match_prediction(scope.path) if scope.method == "POST" else None
        # Under overload, this is most of the work.
        if path and self.admission.is_full(path.model, behind=self._lag.is_behind()):
            raise make_overload_error(path.model, 1.0, unread=True)
        decision = self._limits.take_prediction(principal.name or address) if path else None
        if decision and not decision.allowed:
            raise make_limit_error(decision)
        headers = dict(scope.headers.items())
        check_headers(headers)
        self._check_sender(scope, headers, principal, address)
        headers["x-request-id"] = request_id
        headers[CLIENT_HEADER] = principal.name or address
        if path:
            limit_headers = decision.headers() if decision else []
            await self._admit_prediction(path, scope, headers, protocol, principal, limit_headers)
            return
        body = b""
        if principal is not NOBODY:
            body = await self._bodies.read(headers, protocol)
        elif scope.path == SIGN_IN and scope.method == "POST":
            body = await self._bodies.read(headers, protocol, SIGN_IN_LIMIT)
        try:
            environ = make_environ(scope, headers) | make_body_environ(body) | {CLIENT: address}
            await self._respond(environ, protocol, [], in_thread=not NON_BLOCKING.fullmatch(scope.path))
        finally:
            self._bodies.release(len(body))

    def _find_address(self, scope: Any) -> str:
        """The client's, without its port."""
        peer: str = scope.client.rpartition(":")[0]
        proxies = self._settings.trusted_proxies
        return find_client_address(peer, scope.headers.get_all("x-forwarded-for"), proxies) if proxies else peer

    def _authenticate(self, scope: Any, guard: Guard, address: str) -> Principal:
        """The principal; raises ``Refused`` before anything is read of a client without a good key."""
        authorization = scope.headers.get_all("authorization")
        cookies = None if authorization else scope.headers.get("cookie")
        try:
            return guard.authenticate(scope.method, scope.path, authorization, cookies, address)
        except Unauthenticated as error:
            if not wants_page(scope.method, scope.headers.get("accept"), scope.headers.get("sec-fetch-mode")):
                raise make_refusal(error) from None
            location = locate_sign_in(scope.path, scope.query_string)
            raise Refused(303, f"sign in at {location}", unread=True, location=location) from None
        except ModelyardError as error:
            raise make_refusal(error) from None

    def _check_sender(self, scope: Any, headers: Headers, principal: Principal, address: str) -> None:
        """Raises ``Refused`` before anything is read of what another site's page made a browser send."""
        get = headers.get
        try:
            self._origins.check(scope.method, scope.path, get("host"), get("origin"), get("sec-fetch-site"))
            if principal.session and self._guard:
                self._guard.check_token(scope.method, principal, get("x-csrf-token"))
        except ModelyardError as error:
            if principal.name and self._guard:
                self._guard.note_denied(scope.method, scope.path, principal, type(error).__name__, address)
            raise make_refusal(error) from None

    async def _admit_prediction(
        self,
        path: ModelPath,
        scope: Any,
        headers: Headers,
        protocol: Any,
        principal: Principal,
        limit_headers: HeaderList,
    ) -> None:
        """Capacity is checked before the body is read, and once it is there."""
        timeout_s, kind = self._timeout_s(headers), media_type(headers)
        streamed = kind in STREAMED
        bulk = streamed or headers.get(CLASS_HEADER) == "bulk"
        self._check_share(path.model, principal)
        self._check_capacity(path.model, timeout_s, bulk=bulk, unread=True)
        body = b"" if streamed else await self._bodies.read(headers, protocol)
        try:
            self._check_capacity(path.model, timeout_s, bulk=bulk)
            self._check_share(path.model, principal)
            self.admission.start(path.model, principal.name)
            try:
                request = None if streamed else HttpRequest(headers, kind, body)
                await self._predict(path, scope, headers, protocol, request, principal, limit_headers)
            finally:
                self.admission.finish(path.model, principal.name)
        finally:
            self._bodies.release(len(body))

    def _check_share(self, model: str, principal: Principal) -> None:
        """Raises ``Refused`` if a key has all the places that one may have."""
        if principal.name and self.admission.is_full_for(model, principal.name):
            raise make_share_error(model, self.admission.max_per_client)

    def _check_capacity(self, model: str, timeout_s: float, *, bulk: bool, unread: bool = False) -> None:
        """Raises ``Refused`` if this model is overloaded."""
        if (wait_s := self.admission.retry_after_s(model, timeout_s, bulk=bulk)) is not None:
            raise make_overload_error(model, wait_s, unread=unread)

    async def _predict(
        self,
        path: ModelPath,
        scope: Any,
        headers: Headers,
        protocol: Any,
        request: HttpRequest | None,
        principal: Principal,
        limit_headers: HeaderList,
    ) -> None:
        if request is None:
            read = {"wsgi.input": StreamedBody(protocol, self._loop, self._settings.body_timeout_s)}
        elif response := await self._fast_path(path, scope.query_string, request, principal):
            protocol.response_bytes(response.status, self._add_close(response.headers + limit_headers), response.body)
            return
        else:
            read = make_body_environ(request.body)
        await self._respond(make_environ(scope, headers) | read, protocol, limit_headers, in_thread=False)

    async def _respond(
        self, environ: dict[str, Any], protocol: Any, limit_headers: HeaderList, *, in_thread: bool
    ) -> None:
        response = await self._run(lambda: call_wsgi(self._app, environ), in_thread=in_thread)
        response.headers = self._add_close(response.headers + limit_headers)
        try:
            await self._send(response, protocol, in_thread=in_thread)
        finally:
            response.close()

    def _add_close(self, headers: HeaderList) -> HeaderList:
        """Of every response, when it is sent: its request may have come before."""
        return add_close(headers) if self._draining() else headers

    async def _send(self, response: WsgiResponse, protocol: Any, *, in_thread: bool) -> None:
        """Responses of known length at once; what a view generates, chunk by chunk."""
        if any(name == "content-length" for name, _ in response.headers):
            protocol.response_bytes(response.status, response.headers, b"".join(response.body))
            return
        transport = protocol.response_stream(response.status, response.headers)
        while (chunk := await self._run(lambda: next(response.body, None), in_thread=in_thread)) is not None:
            await transport.send_bytes(chunk)

    async def _run(self, function: Callable[[], Any], *, in_thread: bool) -> Any:
        if in_thread:
            context = contextvars.copy_context()
            return await asyncio.get_running_loop().run_in_executor(self._threads, context.run, function)
        return await run_in_greenlet(function)

    def _timeout_s(self, headers: Headers) -> float:
        """The client's, as far as admission is concerned; its error is reported later."""
        try:
            return parse_timeout_s(headers, self._settings.predict_timeout_s)
        except InvalidRequest:
            return self._settings.predict_timeout_s
