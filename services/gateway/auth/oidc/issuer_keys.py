"""The keys of an issuer: fetched by a thread of their own, so that no request waits for the issuer."""

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog

from modelyard.services.gateway.oidc_settings import is_protected

if TYPE_CHECKING:
    import httpx
    from jwt import PyJWK

log = structlog.get_logger()

DISCOVERY = "/.well-known/openid-configuration"
"""OpenID Connect Discovery 1.0, section 4."""
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a private key of the issuer's: neither `none` nor one that whoever checks could make, too."""
REFRESH_S = 300.0
"""Between two fetches: a key that the issuer has withdrawn is accepted for no longer."""
ANEW_S = 10.0
"""Soonest after a fetch that a token with an unknown key brings another one: anybody can send such tokens."""
TIMEOUT_S = 5.0
MAX_BYTES = 512 * 1024
MAX_WAIT_S = 6.0
"""How long a start waits for an issuer that does not answer."""
MAX_AGE_S = 3600.0
"""Keys of an issuer that is away are used for so long."""


class IssuerAway(Exception):
    """The keys could not be fetched; the text has why."""


class IssuerKeys:
    """A snapshot of the keys, and the thread that renews it."""

    def __init__(self, issuer: str, refresh_s: float = REFRESH_S, anew_s: float = ANEW_S) -> None:
        self._issuer, self._refresh_s, self._anew_s = issuer, refresh_s, anew_s
        self._keys: Mapping[str, PyJWK] | None = None
        self._described: Mapping[str, Any] = {}
        self._fetched_at = 0.0
        self._wanted, self._tried, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._away = ""
        self.generation = 0
        """Grows with every set of other keys."""

    def start(self) -> None:
        """Starts to fetch; returns after the first try, or after ``MAX_WAIT_S``. Idempotent."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="issuer keys", daemon=True)
                self._thread.start()
        self._tried.wait(MAX_WAIT_S)

    def close(self) -> None:
        self._ended.set()
        self._wanted.set()

    @property
    def are_known(self) -> bool:
        """Whether there are keys that are not too old."""
        return self._keys is not None and time.monotonic() - self._fetched_at < MAX_AGE_S

    def find(self, key_id: str) -> "PyJWK | None":
        """The key of this id; for an unknown one, keys are fetched anew soon."""
        found = (self._keys or {}).get(key_id)
        if found is None:
            self._wanted.set()
        return found

    def _run(self) -> None:
        import httpx

        with httpx.Client(timeout=TIMEOUT_S, follow_redirects=False) as client:
            while not self._ended.is_set():
                self._wanted.clear()
                self._fetch(client)
                self._tried.set()
                self._ended.wait(self._anew_s)
                if self._keys is not None:
                    self._wanted.wait(max(0.0, self._refresh_s - self._anew_s))

    def _fetch(self, client: "httpx.Client") -> None:
        try:
            described = fetch_keys(client, self._issuer)
            found = read_keys(described)
        except IssuerAway as error:
            if self._away != str(error):
                self._away = str(error)
                log.warning("issuer's keys not read", issuer=self._issuer, cause=str(error))
            return
        if self._away or self._keys is None:
            self._away = ""
            log.info("issuer's keys read", issuer=self._issuer, keys=len(found))
        self.generation += described != self._described
        self._keys, self._described, self._fetched_at = found, described, time.monotonic()


def fetch_keys(client: "httpx.Client", issuer: str) -> Mapping[str, Any]:
    """The issuer's set of keys, as it describes them.

    Raises:
        IssuerAway: there is no answer, or another one than the standards have.
    """
    described = get_json(client, issuer.rstrip("/") + DISCOVERY)
    if described.get("issuer") != issuer:
        raise IssuerAway("its configuration names another issuer")
    address = described.get("jwks_uri")
    if not isinstance(address, str) or not is_protected(address):
        raise IssuerAway("its configuration has no jwks_uri with https")
    return get_json(client, address)


def read_keys(described: Mapping[str, Any]) -> "Mapping[str, PyJWK]":
    """Those for signatures, by id. Raises ``IssuerAway``."""
    from jwt import PyJWKSet, PyJWTError

    try:
        keys = PyJWKSet.from_dict(dict(described)).keys
    except (PyJWTError, ValueError, TypeError, AttributeError) as error:
        raise IssuerAway(f"its keys cannot be read: {type(error).__name__}") from error
    signing = (key for key in keys if key.public_key_use in (None, "sig") and key.algorithm_name in ALGORITHMS)
    return {key.key_id: key for key in signing if key.key_id}


def get_json(client: "httpx.Client", address: str) -> dict[str, Any]:
    """An object in JSON, of a limited size; redirections are not followed."""
    import httpx

    try:
        with client.stream("GET", address) as response:
            content = b""
            for part in response.iter_bytes():
                content += part
                if len(content) > MAX_BYTES:
                    raise IssuerAway(f"more than {MAX_BYTES} bytes")
            if response.status_code != httpx.codes.OK:
                raise IssuerAway(f"status {response.status_code}")
        found = httpx.Response(httpx.codes.OK, content=content).json()
    except (httpx.HTTPError, ValueError) as error:
        raise IssuerAway(type(error).__name__) from error
    if not isinstance(found, dict):
        raise IssuerAway("expected an object in JSON")
    return found
