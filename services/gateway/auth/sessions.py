"""Sessions of browsers: a signed cookie that names a key by its prefix, for a limited time. Nothing of it is stored.

Every gateway with the same secret reads it, and looks its key up each time: it ends with its key.
"""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from functools import cached_property

from itsdangerous import BadSignature, Signer

NONCE_BYTES = 12
TOKEN_HEADER = "X-CSRF-Token"  # noqa: S105  # a name
HOUR_S = 3600.0


class InvalidSession(Exception):
    """No session, or none any more; the text is for the log, never for the client."""


@dataclass(frozen=True)
class Session:
    """Of one browser, from signing in to its end."""

    prefix: str
    """Of the key."""
    nonce: str
    ends_at: float
    """Seconds since the epoch."""
    secret: bytes

    @property
    def is_over(self) -> bool:
        return time.time() >= self.ends_at

    @cached_property
    def csrf_token(self) -> str:
        """What a page of ours sends along with whatever changes anything; another site cannot read it."""
        return hmac.digest(self.secret, f"csrf {self.prefix}.{self.nonce}".encode(), "sha256").hex()

    def __repr__(self) -> str:
        return f"Session({self.prefix})"


class Sessions:
    """Opens and reads sessions."""

    def __init__(self, secret: bytes, hours: float) -> None:
        """``secret``: that of the keys; everything here is signed with secrets derived from it."""
        self._signing = hmac.digest(secret, b"modelyard session", "sha256")
        self._signer = Signer(self._signing, salt="cookie", key_derivation="hmac", digest_method=hashlib.sha256)
        self._lifetime_s = HOUR_S * hours
        self.cookie = f"modelyard_{hmac.digest(self._signing, b'name', 'sha256').hex()[:8]}"
        """Its name. Cookies know no ports: gateways with other secrets on one host have others."""

    def open(self, prefix: str, left_s: float) -> Session:
        """A new session of a key that is valid for so many seconds."""
        ends_at = int(time.time() + min(self._lifetime_s, left_s))
        return Session(prefix, secrets.token_urlsafe(NONCE_BYTES), ends_at, self._signing)

    def write(self, session: Session) -> str:
        """The cookie's value."""
        return self._signer.sign(f"{session.prefix}.{session.nonce}.{int(session.ends_at)}").decode()

    def read(self, cookies: str) -> Session | None:
        """The session that a ``Cookie`` header names; None if it names none.

        Raises:
            InvalidSession: it was not signed here, or is over.
        """
        value = find_cookie(cookies, self.cookie)
        if value is None:
            return None
        try:
            prefix, nonce, ends_at = self._signer.unsign(value).decode().split(".")
        except (BadSignature, ValueError):
            raise InvalidSession("malformed") from None
        session = Session(prefix, nonce, float(ends_at), self._signing)
        if session.is_over:
            raise InvalidSession("session over")
        return session


def find_cookie(cookies: str, name: str) -> str | None:
    """The first cookie of this name."""
    for part in cookies.split(";"):
        found, _, value = part.strip().partition("=")
        if found == name:
            return value
    return None
