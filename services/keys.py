"""API keys as values: how they look, what they may be, and what of them is kept. No database in here.

A key is ``myd_PREFIX_SECRET``: a public prefix to find it by, and 256 random bits. Its HMAC-SHA256 (RFC 2104) is kept,
under a secret of the server's: a copy of the ledger opens nothing, and who can write there can forge no key.
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

FORM = re.compile(r"myd_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
"""Of a whole key, and its prefix."""
MARK = "myd_"
NAME = "^[a-z0-9][a-z0-9._-]{0,63}$"
"""Of whom a key is for. No colon and no space: it must not look like what the system says of itself."""
MODEL = r"^[^/:\s]{1,128}$"
SECRET_BYTES, PREFIX_BYTES = 32, 6
DAYS, MAX_DAYS = 365, 3650
MAX_ACTIVE = 2
"""Keys of one name at the same time: the old and the new one, while one takes the other's place."""
_SECRETS = re.compile(rf"({MARK}[0-9a-f]{{12}}_)[A-Za-z0-9_-]+")


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
    """What a key is to be."""

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
    """All that is known of a key."""

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
    """Until it expires, by the database's clock when it was asked."""

    @property
    def state(self) -> str:
        """``active``, ``expired`` or ``revoked``."""
        return "revoked" if self.revoked_at else "active" if self.left_s > 0 else "expired"


def new(secret: bytes) -> tuple[str, str, str]:
    """A key's prefix, its text, and what is kept of it."""
    prefix = secrets.token_hex(PREFIX_BYTES)
    text = f"{MARK}{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return prefix, text, digest(text, secret)


def digest(key: str, secret: bytes) -> str:
    """What is kept of a key.

    Args:
        secret: the server's.
    """
    return hmac.digest(secret, key.encode(), "sha256").hex()


def without_secrets(text: str) -> str:
    """A text in which no key can be read, wherever somebody put one; cheap where there is none."""
    return _SECRETS.sub(r"\1***", text) if MARK in text else text
