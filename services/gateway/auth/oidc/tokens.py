"""Verifies tokens: signature, issuer, audience and times by PyJWT, then the role of their groups."""

import hashlib
import re
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from cachetools import LRUCache

from modelyard.models.errors import ModelyardError
from modelyard.services.gateway.auth.key_cache import InvalidKey, KeysNotRead
from modelyard.services.gateway.auth.oidc.issuer_keys import ALGORITHMS, IssuerKeys
from modelyard.services.gateway.auth.permissions import ROLES
from modelyard.services.gateway.auth.principal import Principal
from modelyard.services.gateway.oidc_settings import OidcSettings
from modelyard.services.keys import Role

TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
"""JWS in its compact form (RFC 7515, section 7.1)."""
LEEWAY_S = 30
"""How far clocks may differ."""
CHECKED_S, MAX_CHECKED = 60.0, 2048
"""How long a token is not checked again, and how many of them."""
MAX_TOKEN = 7000
FAULTS = {
    "ExpiredSignatureError": "expired",
    "InvalidAudienceError": "audience",
    "InvalidIssuerError": "issuer",
    "ImmatureSignatureError": "early",
    "InvalidSignatureError": "signature",
    "InvalidAlgorithmError": "algorithm",
}
"""By PyJWT's class of error; any other is malformed."""
SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@|+-]{0,99}")
"""No colon, space or slash: it must not resemble another author, nor a key's name."""
PREFIX = "oidc/"


class NoRole(ModelyardError):
    """A good token of somebody who may do nothing here."""

    status = 403


def is_token(text: str) -> bool:
    """Whether it has a token's form, which no API key has."""
    return TOKEN.fullmatch(text) is not None


class Tokens:
    """Of one issuer. Safe for many threads; no call waits for the issuer."""

    def __init__(self, settings: OidcSettings, keys: IssuerKeys | None = None) -> None:
        self._settings = settings
        self.keys = keys or IssuerKeys(settings.oidc_issuer)
        self._checked: LRUCache[bytes, tuple[Principal, float, int]] = LRUCache(MAX_CHECKED)
        self._lock = threading.Lock()

    def find_principal(self, token: str) -> Principal:
        """The principal of a token.

        Raises:
            InvalidKey: it is not valid; the text is for the log.
            NoRole: none of its groups has a role.
            KeysNotRead: the issuer's keys are not there.
        """
        digest = hashlib.sha256(token.encode()).digest()
        with self._lock:
            known = self._checked.get(digest)
        if known and known[1] > time.monotonic() and known[2] == self.keys.generation and known[0].is_valid():
            return known[0]
        claims = self._verify(token)
        principal = self._make_principal(claims)
        with self._lock:
            self._checked[digest] = (principal, time.monotonic() + CHECKED_S, self.keys.generation)
        return principal

    def _verify(self, token: str) -> Mapping[str, Any]:
        import jwt

        if len(token) > MAX_TOKEN:
            raise InvalidKey("token malformed")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise InvalidKey("token malformed") from None
        if header.get("alg") not in ALGORITHMS:
            raise InvalidKey("token algorithm")
        if not self.keys.are_known:
            raise KeysNotRead("tokens cannot be checked yet; try again later")
        key = self.keys.find(str(header.get("kid", "")))
        if key is None:
            raise InvalidKey("token unknown key")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],  # the key says which, not the token
                audience=self._settings.oidc_audience,
                issuer=self._settings.oidc_issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise InvalidKey(f"token {FAULTS.get(type(error).__name__, 'malformed')}") from None
        return claims

    def _make_principal(self, claims: Mapping[str, Any]) -> Principal:
        name = claims.get(self._settings.oidc_name_claim)
        if not isinstance(name, str) or not SUBJECT.fullmatch(name):
            raise InvalidKey("token name")
        role = self._choose_role(claims)
        if role is None:
            raise NoRole(
                f"expected one of the groups that have a role here, in the claim {self._settings.oidc_roles_claim}"
            )
        ends_at = time.monotonic() + float(claims["exp"]) + LEEWAY_S - time.time()
        return Principal(f"{PREFIX}{name}", role=role, permissions=ROLES[role], is_valid=partial(_is_before, ends_at))

    def _choose_role(self, claims: Mapping[str, Any]) -> Role | None:
        """That of its groups which has the most permissions."""
        path = self._settings.oidc_roles_claim
        found: Any = claims
        for part in (path,) if path in claims else path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        groups = [found] if isinstance(found, str) else found if isinstance(found, list) else []
        roles = [role for group in groups if isinstance(group, str) and (role := self._settings.oidc_roles.get(group))]
        return max(roles, key=lambda role: len(ROLES[role]), default=None)


def _is_before(ends_at: float) -> bool:
    return time.monotonic() < ends_at
