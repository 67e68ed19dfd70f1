"""API keys: their format, roles and hashes. No database in here.

A key is ``myd_PREFIX_SECRET``: a public prefix to find it by, and 256 random bits. Its HMAC-SHA256 (RFC 2104) is
stored, under a secret of the server's: a copy of the ledger opens nothing, and who can write there can forge no key.
"""

import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelyard.models.errors import ModelyardError

KEY_PATTERN = re.compile(r"myd_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
"""Of a whole key, and its prefix."""
KEY_PREFIX = "myd_"
NAME = "^[a-z0-9][a-z0-9._-]{0,63}$"
"""Name of a key's owner. No colon and no space: it must not resemble the authors that the system uses itself."""
MODEL = r"^[^/:\s]{1,255}$"
SECRET_BYTES, PREFIX_BYTES = 32, 6
DAYS, MAX_DAYS = 365, 3650
MAX_ACTIVE = 2
"""Keys of one name at the same time: the old and the new one, during a rotation."""
_SECRETS = re.compile(rf"({KEY_PREFIX}[0-9a-f]{{12}}_)[a-z0-9_-]+", re.IGNORECASE)  # a method, say, is upper-cased


class Role(StrEnum):
    """What a key is for; ``gateway/permissions.py`` says what each may do."""

    VIEWER = "viewer"
    PREDICTOR = "predictor"
    TRAINER = "trainer"
    OPERATOR = "operator"
    ADMIN = "admin"


class TooManyKeys(ModelyardError):
    """The name has two keys already."""

    status = 409


class KeyRequest(BaseModel):
    """Name, role, models and lifetime of a new key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME)
    role: Role
    models: tuple[Annotated[str, Field(pattern=MODEL)], ...] = Field((), max_length=100)
    """Those that it is for; none for all of them, also future ones."""
    days: int = Field(DAYS, ge=1, le=MAX_DAYS)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.models and self.role is Role.ADMIN:
            raise ValueError("an admin can give any key to anybody, so none is for some models only")
        return self


@dataclass(frozen=True)
class Key:
    """A key without its secret."""

    prefix: str
    digest: str
    name: str
    role: Role
    models: tuple[str, ...]
    by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    left_s: float
    """Seconds until it expires, by the database's clock when it was read."""
    last_used_at: datetime | None = None
    """To the minute; None if it never was."""

    @property
    def state(self) -> str:
        """``active``, ``expired`` or ``revoked``."""
        return "revoked" if self.revoked_at else "active" if self.left_s > 0 else "expired"


def generate_key(secret: bytes) -> tuple[str, str, str]:
    """A new key: its prefix, its text and its hash."""
    prefix = secrets.token_hex(PREFIX_BYTES)
    text = f"{KEY_PREFIX}{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return prefix, text, hash_key(text, secret)


def hash_key(key: str, secret: bytes) -> str:
    """HMAC-SHA256 of a key, which is stored.

    Args:
        secret: the server's.
    """
    return hmac.digest(secret, key.encode(), "sha256").hex()


def may_hold_key(text: str) -> bool:
    """Whether a text may hold a key, in whatever case."""
    return KEY_PREFIX in text.lower()


def mask_keys(text: str) -> str:
    """A text with the secrets of all keys in it masked; cheap where there is none."""
    return _SECRETS.sub(r"\1***", text) if may_hold_key(text) else text
