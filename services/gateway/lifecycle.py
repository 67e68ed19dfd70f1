"""One gateway on one event loop: granian's HTTP server before Flask, from the first connection to the last response."""

import asyncio
import gc
import signal
import threading
from typing import TYPE_CHECKING

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server

from modelyard.services import logs
from modelyard.services.gateway.http.greenlets import EventLoop
from modelyard.services.gateway.server.port import ANOTHER_ADDRESS, bind_address, make_port_error
from modelyard.services.gateway.server.rsgi import RsgiApp
from modelyard.services.gateway.server.traced import TracedApp
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.worker_metrics import WorkerMetrics
from modelyard.services.gateway.wsgi import create_app
from modelyard.services.tracing.spans import Tracing

if TYPE_CHECKING:
    from modelyard.services.gateway.serving.servers.local_server import EmbeddedServer

log = logs.get_logger()

DRAIN_S = 20
CLOSE_S = 2
HEADER_TIMEOUT_MS = 10_000
BACKLOG = 1024
MAX_CONNECTIONS = 20_000
"""One more waits until another closes, and idle ones are kept open: granian's own limit is the backlog's size."""
GC_THRESHOLD = 20_000
"""Allocations between two collections. Requests leave no cycles behind: at Python's 700, an overload spends 9 % of its
time on collections."""


class Lifecycle:
    """From the first connection to the last response."""

    def __init__(
        self, settings: GatewaySettings, model_server: "EmbeddedServer | None" = None, tracing: Tracing | None = None
    ) -> None:
        """``model_server``: of this process, if it has one. It is stopped at the end, and so is ``tracing``."""
        self._settings = settings
        self._model_server = model_server
        self._tracing = tracing
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT; then responds to everything that was accepted."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        event_loop = EventLoop(loop)
        app = create_app(self._settings, self._stopping.is_set, event_loop, self._model_server)
        guard = app.extensions["guard"]
        if guard:
            await asyncio.to_thread(guard.start)
        fast_path, metrics = app.extensions["fast_path"].respond, app.extensions["metrics"]
        limits = app.extensions["limits"]
        draining = self._stopping.is_set
        rsgi = RsgiApp(app.wsgi_app, self._settings, event_loop, fast_path, metrics, limits, guard, draining)
        server = listen(TracedApp(rsgi, self._tracing) if self._tracing else rsgi, self._settings)
        serving = asyncio.create_task(server.serve())
        await wait_until_listening(self._settings, serving)
        if self._settings.gateway_number:
            workers = WorkerMetrics(metrics.registry, self._settings.gateway_number, self._settings.gateway_sockets)
            await workers.serve()
            metrics.show(workers)
        tune_gc()
        log.info("listening", url=f"{self._settings.scheme}://{bind_address(self._settings)}")
        await self._stopping.wait()
        log.info("stopping", drain_wait_s=self._settings.drain_wait_s)
        await asyncio.sleep(self._settings.drain_wait_s)
        server.stop()  # type: ignore[no-untyped-call]  # granian's own annotation is missing
        await asyncio.wait([serving], timeout=DRAIN_S)
        await rsgi.wait_until_idle(DRAIN_S)
        if guard:
            closing = threading.Thread(target=guard.close, daemon=True)  # a ledger that hangs must not hold the end up
            closing.start()
            await asyncio.to_thread(closing.join, CLOSE_S)
        if self._model_server:
            await asyncio.to_thread(self._model_server.stop, DRAIN_S)
        if self._tracing:
            await asyncio.to_thread(self._tracing.close)


def listen(rsgi: RsgiApp | TracedApp, settings: GatewaySettings) -> Server:
    """granian, configured by our settings alone."""
    return Server(
        rsgi,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS, max_buffer_size=64 * 1024),
        backlog=BACKLOG,
        backpressure=MAX_CONNECTIONS,
        websockets=False,
        log_enabled=False,
        ssl_cert=settings.https_certificate,
        ssl_key=settings.https_key,
        ssl_protocol_min=SSLProtocols.tls12,
    )


async def wait_until_listening(settings: GatewaySettings, serving: asyncio.Task[None]) -> None:
    """Returns when a connection is accepted, which granian does not report.

    Raises:
        PortTaken: ``serving`` has ended, as another process took the port since ``check_port``.
    """
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection(settings.host, settings.port)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            if not serving.done():
                return
    cause = str(serving.exception()).partition("\n")[0]
    raise make_port_error(settings, f"{cause}; {ANOTHER_ADDRESS}")


def tune_gc() -> None:
    """Exempts what start-up created from garbage collection: it stays for good."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    gc.enable()
