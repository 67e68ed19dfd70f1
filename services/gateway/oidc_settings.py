"""Which issuer's tokens are accepted, for whom they must be, and what their holders may do."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from modelyard.services.keys import Role
from modelyard.services.settings import InvalidSettings, KeySettings, is_loopback


def check_issuer(url: str) -> str:
    """Raises ``ValueError`` unless keys can be fetched from it by TLS, or on this machine."""
    if url and not is_protected(url):
        raise ValueError("expected https://HOST/PATH of the issuer, or http:// to this machine")
    return url


def is_protected(url: str) -> bool:
    """Whether nobody in between can answer for it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # a port that is no number
        return False
    plain = "@" not in parts.netloc and not parts.query and not parts.fragment and port != 0
    return bool(host) and plain and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


def parse_roles(value: object) -> object:
    """``GROUP=ROLE,…``. Raises ``ValueError``."""
    if not isinstance(value, str):
        return value
    found = {}
    for part in filter(None, map(str.strip, value.split(","))):
        group, _, role = part.rpartition("=")
        if not group or role not in list(Role):
            raise ValueError(f"expected GROUP=ROLE, of the roles {', '.join(Role)}; received {part!r}")
        found[group] = Role(role)
    return found


class OidcSettings(KeySettings):
    """Of the gateway."""

    oidc_issuer: Annotated[str, AfterValidator(check_issuer)] = Field(
        "",
        description="URL of an OpenID Connect issuer, exactly as its tokens name it: they are accepted beside API "
        "keys, which MODELYARD_KEY_SECRET turns on; needs the extra `oidc`.",
    )
    oidc_audience: str = Field("", description="Audience that a token must be for: this gateway's name at the issuer.")
    oidc_roles: Annotated[Mapping[str, Role], NoDecode, BeforeValidator(parse_roles)] = Field(
        {}, description="Roles by the groups of a token, such as ml-admins=admin,ml-team=trainer. Without a group: 403."
    )
    oidc_roles_claim: str = Field(
        "groups", description="Claim with the groups; a dot leads into another one, such as realm_access.roles."
    )
    oidc_name_claim: str = Field("sub", description="Claim that names its holder in records.")

    def require_complete(self) -> None:
        """Raises ``InvalidSettings`` if an issuer is set, and not all that its tokens need."""
        if not self.oidc_issuer:
            return
        missing = {
            "MODELYARD_KEY_SECRET: tokens count beside API keys; `openssl rand -hex 32` makes one": self.key_secret,
            "MODELYARD_OIDC_AUDIENCE: without it a token for any other service would do": self.oidc_audience,
            "MODELYARD_OIDC_ROLES: without it nobody may do anything; expected GROUP=ROLE": self.oidc_roles,
            "MODELYARD_OIDC_ISSUER: install the extra: pip install 'modelyard[oidc]'": find_spec("jwt"),
        }
        for text, given in missing.items():
            if not given:
                raise InvalidSettings(text)
