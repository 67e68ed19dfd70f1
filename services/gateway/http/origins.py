"""Refuses what pages of other sites make a browser send: a gateway without keys does whatever it is asked.

Browsers send ``Sec-Fetch-Site``, or at least ``Origin``, with whatever may change something, and no page can leave them
out; clients that are no browsers send neither. Only what reads (RFC 9110, "safe" methods) is let through: no other site
can see the response.
"""

import re
import threading
import time
from functools import lru_cache

import structlog
from flask import Flask
from flask.globals import request_ctx

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.http.client_address import is_address
from modelyard.services.gateway.http.cors import PATHS as CORS_PATHS
from modelyard.services.gateway.settings import GatewaySettings

log = structlog.get_logger()

READING = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES = frozenset({"same-origin", "none"})
"""A page of ours, or the person themselves."""
HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+?))\.?(?::\d*)?", re.IGNORECASE)
"""An address in brackets, or a name, or an IPv4 address; and perhaps a port."""
LOG_INTERVAL_S = 1.0
SHOWN_CHARS = 100


class ForeignPage(ModelyardError):
    """A page of another site made a browser send this."""

    status = 403


class Origins:
    """Where requests may come from."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._cors_origins = settings.cors_origins
        self._names = settings.allowed_hosts
        self._checks_host = settings.key_secret is None
        """With keys, a page that a name leads here has neither key nor cookie: both are bound to the right name."""
        self._logged_at = -LOG_INTERVAL_S
        self._lock = threading.Lock()

    def check(self, method: str, path: str, host: str | None, origin: str | None, site: str | None) -> None:
        """Checks the headers ``Host``, ``Origin`` and ``Sec-Fetch-Site``; takes less than a microsecond.

        Raises:
            ForeignPage: another site's page sent it, or may have.
        """
        if self._checks_host and host and not is_local(host, self._names):
            self._refuse(
                f"expected Host to be localhost or an address; received {host[:SHOWN_CHARS]!r}. Where there are no API "
                "keys, any site could otherwise give its own name this address; MODELYARD_ALLOWED_HOSTS allows names"
            )
        if method in READING or site in OWN_SITES or (site is None and (origin is None or is_of(origin, host))):
            return
        if origin in self._cors_origins and path.lower().startswith(CORS_PATHS):
            return
        self._refuse(
            "expected a request of this gateway's own pages, or of a client that is no browser; received one of a page "
            f"of {(origin or 'another site')[:SHOWN_CHARS]}. MODELYARD_CORS_ORIGINS allows other pages to predict"
        )

    def protect(self, app: Flask) -> None:
        """Checks every request of an application, also where no RSGI app has done so before."""

        @app.before_request
        def check_origin() -> None:
            request = request_ctx.request
            get = request.environ.get
            origins = get("HTTP_HOST"), get("HTTP_ORIGIN"), get("HTTP_SEC_FETCH_SITE")
            self.check(request.method, request.path, *origins)

    def _refuse(self, text: str) -> None:
        """Logs one line a second: any page can send thousands."""
        with self._lock:
            due = time.monotonic() - self._logged_at >= LOG_INTERVAL_S
            self._logged_at = time.monotonic() if due else self._logged_at
        if due:
            log.warning("request of another site refused", cause=text)
        raise ForeignPage(text)


@lru_cache(maxsize=256)
def is_local(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether a ``Host`` is an address, ``localhost``, or one of these names: no site can make it its own."""
    found = HOST.fullmatch(host)
    if found is None:
        return False
    name = (found[1] or found[2]).lower()
    return is_address(name) or name == "localhost" or name.endswith(".localhost") or name in allowed


def is_of(origin: str, host: str | None) -> bool:
    """Whether an ``Origin`` is of this ``Host``, whatever a proxy has made of its scheme."""
    return host is not None and origin.partition("://")[2].lower() == host.lower()
