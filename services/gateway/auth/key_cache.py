"""All API keys as the ledger had them a moment ago. Predictions are let in by it, also while the ledger is away.

A revoked key is refused as soon as the next look into the ledger ends: within five seconds, as long as it answers.
"""

import hmac
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.services.gateway.auth.permissions import ROLES
from modelyard.services.gateway.auth.principal import Caller
from modelyard.services.keys import FORM, Key, digest
from modelyard.services.ledger import Ledger

log = structlog.get_logger()

LOOK_S = 2.0
"""Between two looks into the ledger."""
PATIENCE_S = 5.0
"""How long a start waits for a ledger that does not answer."""
REMEMBERED_S = 30 * 24 * 3600.0
"""How long it is known of a key that it has ended; then it is as good as never made."""
NO_DIGEST = "0" * 64


class KeysUnread(ModelyardError):
    """The ledger could not be asked for the keys yet, so nobody can be let in."""

    status = 503


class BadKey(Exception):
    """Not a key that opens anything; says why to us, never to the caller."""


@dataclass(frozen=True)
class Held:
    """One key, ready to be compared with."""

    digest: str
    caller: Caller
    revoked: bool
    ends_at: float
    """On this process's monotonic clock: nobody has to set the time right."""

    def fault(self) -> str | None:
        """Why it opens nothing."""
        if self.revoked:
            return "revoked"
        return "expired" if time.monotonic() >= self.ends_at else None


class Keyring:
    """A snapshot of the keys, and the thread that renews it."""

    def __init__(self, ledger: Ledger, secret: bytes) -> None:
        self._ledger, self._secret = ledger, secret
        self._held: Mapping[str, Held] | None = None
        self._read_at = time.monotonic()
        self._away = False
        self._lock = threading.Lock()
        self._looked, self._ended = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def unread(self) -> bool:
        """Whether the ledger has not been asked successfully yet."""
        return self._held is None

    @property
    def age_s(self) -> float:
        """Since the ledger was last asked successfully."""
        return time.monotonic() - self._read_at

    def open(self) -> None:
        """Begins to look, and returns after the first time, or when that takes long; once more does nothing."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="keys", daemon=True)
                self._thread.start()
        self._looked.wait(PATIENCE_S)

    def caller(self, key: str) -> Caller:
        """Whose key this is. Takes microseconds, and as long for a wrong key as for the right one.

        Raises:
            BadKey: malformed, unknown, wrong, revoked, or expired.
            KeysUnread: nobody can say yet.
        """
        formed = FORM.fullmatch(key)
        if formed is None:
            raise BadKey("malformed")
        if self._held is None:
            raise KeysUnread("API keys cannot be checked yet; try again later")
        held = self._held.get(formed[1])
        right = hmac.compare_digest(held.digest if held else NO_DIGEST, digest(key, self._secret))
        if held is None:
            raise BadKey("unknown")
        if fault := held.fault() if right else "wrong":
            raise BadKey(fault)
        return held.caller

    def close(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._look()
            self._looked.set()
            self._ended.wait(LOOK_S)

    def _look(self) -> None:
        try:
            keys = self._ledger.keys.all(ended_within_s=REMEMBERED_S)
        except StorageFailed as error:
            self._miss(str(error))
        except Exception as error:  # noqa: BLE001  # the outermost boundary of this thread, which has to go on
            self._miss(repr(error))
        else:
            if not keys and self._held != {}:
                log.warning("there are no API keys", mend="modelyard keys create NAME --role admin")
            self._held = {key.prefix: self._ready(key) for key in keys}
            self._read_at, self._away = time.monotonic(), False

    def _miss(self, cause: str) -> None:
        """Says so once; the keys of before go on."""
        if not self._away:
            log.warning("API keys not read; those of before go on", cause=cause)
        self._away = True

    def _ready(self, key: Key) -> Held:
        ends_at = time.monotonic() + key.left_s
        caller = Caller(
            name=key.name,
            prefix=key.prefix,
            role=key.role,
            permissions=ROLES[key.role],
            models=frozenset(key.models),
            is_valid=partial(self._is_good, key.prefix),
        )
        return Held(key.digest, caller, key.revoked_at is not None, ends_at)

    def _is_good(self, prefix: str) -> bool:
        held = (self._held or {}).get(prefix)
        return held is not None and held.fault() is None
