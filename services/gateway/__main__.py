"""``python -m modelyard.services.gateway``: one process, one event loop, granian's HTTP server and Flask.

Several cores are used by several gateways: behind a load balancer, or sharing a port (``modelyard serve --workers``).
"""

import ctypes
import gc
import logging
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING

from modelyard.models.errors import ModelyardError
from modelyard.models.imports import end_on_sigterm, pause_gc

if __name__ == "__main__":
    end_on_sigterm(os._exit)  # threads of TensorFlow take no part in Python's exit
with pause_gc():
    from modelyard.services import logs
    from modelyard.services.gateway.server.port import check_port
    from modelyard.services.gateway.settings import GatewaySettings
    from modelyard.services.tls.urls import is_postgresql
    from modelyard.services.tracing.otlp import open_tracing, require_tracing

if TYPE_CHECKING:
    from modelyard.services.gateway.serving.servers.local_server import EmbeddedServer

log = logs.get_logger()

M_ARENA_MAX = -8
LOCAL_ARENAS = 3
"""One for Python, and one for each of two calls that TensorFlow computes at once: with a single one they wait for each
other, and 64 connections get a seventh less (docs/decisions/0049)."""


def main() -> int:
    """Runs until SIGTERM. Returns the exit status.

    Raises:
        ModelyardError: it cannot start; with the reason and what to do.
    """
    settings = GatewaySettings.load()
    logs.configure("gateway", settings.log_level)
    settings.require_protected(settings.list_servers(settings.serving))
    check_port(settings)
    require_tracing(settings)
    limit_memory_arenas(LOCAL_ARENAS if settings.has_model_server else 1)
    raise_file_limit()
    log.info("starting", **settings.mask_secrets())
    failure = Failure()
    model_server = start_model_server(settings, failure) if settings.has_model_server else None
    with pause_gc():  # meanwhile a thread loads the TensorFlow library, if there is one
        import uvloop

        from modelyard.services.gateway.lifecycle import Lifecycle
    try:
        uvloop.run(Lifecycle(settings, model_server, open_tracing(settings, "gateway")).run())
    except ModelyardError as error:
        if model_server is None:
            raise
        sys.stderr.write(f"{error}\n")
        failure.has_happened = True
    status = 1 if failure.has_happened else 0
    if model_server:
        logging.shutdown()
        os._exit(status)  # threads of TensorFlow, and of calls that ran out of time, do not take part in Python's exit
    return status


class Failure:
    """Ends the process in order, but with status 1, once its model server cannot load anything any more."""

    def __init__(self) -> None:
        self.has_happened = False

    def __call__(self) -> None:
        self.has_happened = True
        os.kill(os.getpid(), signal.SIGTERM)


def start_model_server(settings: GatewaySettings, failure: Failure) -> "EmbeddedServer":
    """The model server of this process, which loads versions while the rest is imported."""
    load_driver(settings.ledger)
    with pause_gc():
        from modelyard.services.gateway.serving.servers.local_server import open_server
    if settings.key_secret is not None:
        log.warning("the model server shares this process, and its memory, with the secret of API keys")
    return open_server(settings.serving_flags, settings.store / "models.config", failure)


def load_driver(ledger_url: str) -> None:
    """Loads PostgreSQL's driver, if the ledger needs it, before TensorFlow.

    TensorFlow's library shows all the functions of its BoringSSL. A libpq that is loaded after it takes them for those
    of its OpenSSL: TLS to the ledger then ends the process (``free(): invalid pointer``).
    """
    if is_postgresql(ledger_url):
        import psycopg  # noqa: F401  # that is all


def raise_file_limit() -> None:
    """As many open connections as the system lets this user have."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def limit_memory_arenas(count: int) -> None:
    """Lets all threads share so many of glibc's memory pools: each more costs megabytes, and Python runs one at a time.

    ``mallopt(M_ARENA_MAX, count)``, mallopt(3); elsewhere than on glibc there is nothing to do.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, count)


if __name__ == "__main__":
    gc.disable()  # until everything is loaded; collections during imports cost a tenth of the start
    try:
        sys.exit(main())
    except ModelyardError as error:
        sys.exit(str(error))
