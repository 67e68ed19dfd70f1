"""``python -m modelyard.services.gateway``: one process, one event loop, granian's HTTP server and Flask.

Several cores are used by several gateways: behind a load balancer, or sharing a port (``modelyard serve --workers``).
"""

import asyncio
import ctypes
import errno
import gc
import resource
import signal
import socket
import sys
import threading

import uvloop

from modelyard.models.errors import ModelyardError
from modelyard.models.imports import pause_gc

with pause_gc():
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    from modelyard.services import logs
    from modelyard.services.gateway.http.greenlets import EventLoop
    from modelyard.services.gateway.server.rsgi import RsgiApp
    from modelyard.services.gateway.settings import GatewaySettings
    from modelyard.services.gateway.worker_metrics import WorkerMetrics
    from modelyard.services.gateway.wsgi import create_app

log = logs.get_logger()

DRAIN_S = 20
CLOSE_S = 2
HEADER_TIMEOUT_MS = 10_000
BACKLOG = 1024
MAX_CONNECTIONS = 20_000
"""One more waits until another closes, and idle ones are kept open: granian's own limit is the backlog's size."""
M_ARENA_MAX = -8
ANOTHER_ADDRESS = "choose another address with MODELYARD_HOST or MODELYARD_PORT"
GC_THRESHOLD = 20_000
"""Allocations between two collections. Requests leave no cycles behind: at Python's 700, an overload spends 9 % of its
time on collections."""


class PortTaken(ModelyardError):
    """The address cannot be listened on."""


class Lifecycle:
    """From the first connection to the last response."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT; then responds to everything that was accepted."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        event_loop = EventLoop(loop)
        app = create_app(self._settings, draining=self._stopping.is_set, loop=event_loop)
        guard = app.extensions["guard"]
        if guard:
            await asyncio.to_thread(guard.key_cache.start)
        fast_path, metrics = app.extensions["fast_path"].respond, app.extensions["metrics"]
        limits = app.extensions["limits"]
        rsgi = RsgiApp(app.wsgi_app, self._settings, event_loop, fast_path, metrics, limits, guard)
        server = listen(rsgi, self._settings)
        serving = asyncio.create_task(server.serve())
        await wait_until_listening(self._settings, serving)
        if self._settings.gateway_number:
            workers = WorkerMetrics(metrics.registry, self._settings.gateway_number, self._settings.gateway_sockets)
            await workers.serve()
            metrics.show(workers)
        tune_gc()
        log.info("listening", url=f"http://{bind_address(self._settings)}")
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


def listen(rsgi: RsgiApp, settings: GatewaySettings) -> Server:
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


def main() -> None:
    """Runs until SIGTERM.

    Raises:
        ModelyardError: it cannot start; with the reason and what to do.
    """
    settings = GatewaySettings.load()
    logs.configure("gateway", settings.log_level)
    check_port(settings)
    share_memory_arena()
    raise_file_limit()
    log.info("starting", **settings.mask_secrets())
    uvloop.run(Lifecycle(settings).run())


def raise_file_limit() -> None:
    """As many open connections as the system lets this user have."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def share_memory_arena() -> None:
    """Lets all threads share one of glibc's memory pools: each more costs megabytes, and Python runs one at a time.

    ``mallopt(M_ARENA_MAX, 1)``, mallopt(3); elsewhere than on glibc there is nothing to do.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)


def bind_address(settings: GatewaySettings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


def check_port(settings: GatewaySettings) -> None:
    """Binds the port before granian does, whose error has no cause.

    Raises:
        PortTaken: the text has the remedy.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:  # it does not listen: a connection would be lost
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if settings.gateway_number:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            cause = "another process listens there; stop it, or choose another port with MODELYARD_PORT"
        else:
            cause = f"{error.strerror}; {ANOTHER_ADDRESS}"
        raise make_port_error(settings, cause) from error


def make_port_error(settings: GatewaySettings, cause: str) -> PortTaken:
    return PortTaken(f"cannot listen on {bind_address(settings)}: {cause}")


if __name__ == "__main__":
    gc.disable()  # until everything is loaded; collections during imports cost a tenth of the start
    try:
        main()
    except ModelyardError as error:
        sys.exit(str(error))
