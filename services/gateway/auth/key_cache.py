"""A cache of all API keys, renewed every two seconds: it authenticates also while the ledger is away.

A revoked key is refused as soon as the next poll of the ledger ends: within five seconds, as long as it answers.
"""

import hmac
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.services.gateway.auth.permissions import ROLES
from modelyard.services.gateway.auth.principal import Principal
from modelyard.services.keys import KEY_PATTERN, Key, hash_key
from modelyard.services.ledger import Ledger

log = structlog.get_logger()

POLL_INTERVAL_S = 2.0
"""Between two polls of the ledger."""
MAX_WAIT_S = 5.0
"""How long a start waits for a ledger that does not answer."""
NOTE_INTERVAL_S = 60.0
"""Between two writes of which keys were used."""
MAX_ENDED_S = 30 * 24 * 3600.0
"""How long expired and revoked keys are cached; afterwards they are unknown."""
NO_DIGEST = "0" * 64


class KeysNotRead(ModelyardError):
    """The keys could not be read from the ledger yet, so no request can be authenticated."""

    status = 503


class InvalidKey(Exception):
    """No valid key; the text is for the log, never for the client."""


@dataclass(frozen=True)
class CachedKey:
    """One key, by its hash."""

    digest: str
    principal: Principal
    revoked: bool
    ends_at: float
    """On this process's monotonic clock, which does not depend on the wall clock."""

    @property
    def left_s(self) -> float:
        """Seconds until it expires."""
        return self.ends_at - time.monotonic()

    def find_refusal(self) -> str | None:
        """Why the key is refused: revoked or expired; None if it is valid."""
        if self.revoked:
            return "revoked"
        return "expired" if time.monotonic() >= self.ends_at else None


class KeyCache:
    """A snapshot of the keys, and the thread that renews it."""

    def __init__(self, ledger: Ledger, secret: bytes, after_poll: Callable[[], None] = lambda: None) -> None:
        """``after_poll``: what else this thread does with the ledger."""
        self._ledger, self._secret, self._after_poll = ledger, secret, after_poll
        self._keys: Mapping[str, CachedKey] | None = None
        self._used: set[str] = set()
        """Prefixes of keys that were used since that was last noted."""
        self._noted_at = time.monotonic()
        self._read_at = time.monotonic()
        self._away = False
        self._lock = threading.Lock()
        self._polled, self._ended = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_unread(self) -> bool:
        """Whether the keys have not been read yet."""
        return self._keys is None

    @property
    def age_s(self) -> float:
        """Seconds since the keys were last read."""
        return time.monotonic() - self._read_at

    def start(self) -> None:
        """Starts to poll; returns after the first poll, or after ``MAX_WAIT_S``. Idempotent."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="keys", daemon=True)
                self._thread.start()
        self._polled.wait(MAX_WAIT_S)

    def find_principal(self, key: str) -> Principal:
        """The principal of a key. Takes microseconds, and as long for a wrong key as for the right one.

        Raises:
            InvalidKey: malformed, unknown, wrong, revoked, or expired.
            KeysNotRead: the keys have not been read yet.
        """
        formed = KEY_PATTERN.fullmatch(key)
        if formed is None:
            raise InvalidKey("malformed")
        if self._keys is None:
            raise KeysNotRead("API keys cannot be checked yet; try again later")
        held = self._keys.get(formed[1])
        right = hmac.compare_digest(held.digest if held else NO_DIGEST, hash_key(key, self._secret))
        if held is None:
            raise InvalidKey("unknown")
        if fault := held.find_refusal() if right else "wrong":
            raise InvalidKey(fault)
        self._used.add(held.principal.prefix)
        return held.principal

    def find_holder(self, prefix: str) -> CachedKey:
        """The key of a prefix that is known to be authentic, while it is valid; raises as ``find_principal``."""
        if self._keys is None:
            raise KeysNotRead("API keys cannot be checked yet; try again later")
        held = self._keys.get(prefix)
        if held is None:
            raise InvalidKey("unknown")
        if fault := held.find_refusal():
            raise InvalidKey(fault)
        self._used.add(prefix)
        return held

    def close(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join(MAX_WAIT_S)
            self._note_use()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._poll()
            self._polled.set()
            if time.monotonic() - self._noted_at >= NOTE_INTERVAL_S:
                self._note_use()
            self._after_poll()
            self._ended.wait(POLL_INTERVAL_S)

    def _poll(self) -> None:
        try:
            keys = self._ledger.keys.list_keys(ended_within_s=MAX_ENDED_S)
        except StorageFailed as error:
            self._log_failure(str(error))
        except Exception as error:  # noqa: BLE001  # the outermost boundary of this thread, which has to go on
            self._log_failure(repr(error))
        else:
            if not keys and self._keys != {}:
                log.warning("there are no API keys", hint="modelyard keys create NAME --role admin")
            self._keys = {key.prefix: self._cached_key(key) for key in keys}
            self._read_at, self._away = time.monotonic(), False

    def _note_use(self) -> None:
        """Tells the ledger; what it does not take is told the next time."""
        self._noted_at = time.monotonic()
        used, self._used = self._used, set()
        try:
            if used:
                self._ledger.keys.note_use(frozenset(used))
        except StorageFailed as error:
            log.warning("use of API keys not noted; retried later", cause=str(error))
            self._used |= used

    def _log_failure(self, cause: str) -> None:
        """Logs a failure once; the keys read before stay valid."""
        if not self._away:
            log.warning("API keys not read; cached ones are used", cause=cause)
        self._away = True

    def _cached_key(self, key: Key) -> CachedKey:
        ends_at = time.monotonic() + key.left_s
        principal = Principal(
            name=key.name,
            prefix=key.prefix,
            role=key.role,
            permissions=ROLES[key.role],
            models=frozenset(key.models),
            is_valid=partial(self._is_good, key.prefix),
        )
        return CachedKey(key.digest, principal, key.revoked_at is not None, ends_at)

    def _is_good(self, prefix: str) -> bool:
        held = (self._keys or {}).get(prefix)
        return held is not None and held.find_refusal() is None
