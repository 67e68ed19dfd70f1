"""Settings of every process: frozen, from ``MODELYARD_*`` variables, documented, masked in logs.

Secrets come from files, one for each, as container engines mount them: ``/run/secrets/modelyard_ledger_password``.
"""

import ipaddress
import os
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator

from modelyard.models.registry.bucket.location import parse_location
from modelyard.models.sources.pool_settings import PoolSettings
from modelyard.models.sources.project import InvalidSettings as InvalidSettings  # noqa: PLC0414  # it is raised here too
from modelyard.models.sources.project import ProjectSettings
from modelyard.models.sources.project_file import HOME as HOME  # noqa: PLC0414  # a default of settings
from modelyard.models.tfserving.addresses import is_name, split_name

if TYPE_CHECKING:
    from modelyard.models.registry.store import Store

SECRETS_VARIABLE, SECRETS = "MODELYARD_SECRETS_DIR", Path("/run/secrets")
"""Folder of the files that hold secrets; each is named like its variable, in small letters."""
MIN_KEY_SECRET_CHARS = 32


def split_list(value: object) -> object:
    """The parts of a text between its commas; any other value as it is."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _check_names(addresses: tuple[str, ...]) -> tuple[str, ...]:
    for address in addresses:
        if is_name(address):
            split_name(address)
    return addresses


Addresses = Annotated[tuple[str, ...], BeforeValidator(split_list), AfterValidator(_check_names)]
"""``host:port`` or ``dns:host:port``, separated by commas in the environment (mark the field ``NoDecode``)."""
LOCAL = "local"
"""In the place of the gateway's addresses: the model server runs inside its process."""


def _refuse_local(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if LOCAL in addresses:
        raise ValueError(f"{LOCAL} is for gateways; expected the socket of the model server there, such as unix:/path")
    return addresses


ServingAddresses = Annotated[Addresses, AfterValidator(_refuse_local)]
"""Of model servers, from outside the gateway's process."""


def _not_empty(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    if not text:
        raise ValueError("is empty; write the secret into its file, or leave it out")
    return SecretStr(text)


Secret = Annotated[SecretStr, AfterValidator(_not_empty)]
"""A secret without the line's end. An empty file is an error, not a missing secret."""


_PASSWORD = re.compile(r"([a-z0-9.+-]+://[^:/@]*):.*@", re.IGNORECASE | re.DOTALL)
"""Up to the last ``@``: a password that was not percent-encoded may hold any."""
SOCKET_SCHEME = "redis+socket"
TLS_SCHEME = "rediss"
BROKER_SCHEMES = ("redis", TLS_SCHEME, SOCKET_SCHEME)
CERTIFICATE, CERTIFICATE_CHECKS = "ssl_cert_reqs", ("required", "optional", "none")
"""kombu's: whether a broker's certificate is checked."""
BROKER_FORMS = "redis://HOST:PORT/N, rediss://HOST:PORT/N or redis+socket:///PATH"
HOW_PASSWORDS = "a password with / ? # or @ is percent-encoded, or put into MODELYARD_BROKER_PASSWORD"


class Settings(ProjectSettings):
    """One frozen object per process. Each field has its description and default; ``docs/settings.md`` shows them."""

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Reads the environment, secrets and the project's file; ``given`` values win.

        Raises:
            InvalidSettings: names the variable and what is wrong with it.
        """
        return super().load(**given, _secrets_dir=find_secrets_folder())

    def mask_secrets(self) -> dict[str, str]:
        """All values, fit for a log: secrets, and passwords inside URLs, are masked."""
        return {name: mask_password(str(value)) for name, value in self}


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: what it stands for can change
        return False


def make_sqlite_url(home: Path) -> str:
    """SQLAlchemy's URL of the ledger in a folder whose name may have any character."""
    return f"sqlite:///{quote(str(home / 'ledger.db'))}"


def below_home(name: str) -> Callable[[dict[str, Any]], Path]:
    """The default of a setting: a folder in ``home``."""
    return lambda known: known["home"] / name


def check_broker_url(url: str) -> str:
    """The URL, if kombu would read it as it is meant; else raises ``ValueError``, whose text has nothing of it."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in BROKER_SCHEMES and parts.port != 0
    except ValueError:  # a port that is no number, as of a password with a slash
        known = False
    if not known or bool(parts.hostname) is (parts.scheme == SOCKET_SCHEME):
        raise ValueError(f"expected {BROKER_FORMS}; {HOW_PASSWORDS}")
    if parts.fragment or "@" in f"{parts.path}{parts.query}" or "@" in (parts.password or ""):
        raise ValueError(HOW_PASSWORDS)
    return require_certificate(url) if parts.scheme == TLS_SCHEME else url


def require_certificate(url: str) -> str:
    """A URL with TLS that says how the server's certificate is checked: kombu would accept any if it does not.

    Raises:
        ValueError: it says something that kombu would not understand, and take for no check at all.
    """
    parts = urlsplit(url)
    said = dict(parse_qsl(parts.query, keep_blank_values=True)).get(CERTIFICATE)
    if said is None:
        return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, f"{CERTIFICATE}=required"]))))
    if said not in CERTIFICATE_CHECKS:
        raise ValueError(f"{CERTIFICATE}: expected {', '.join(CERTIFICATE_CHECKS)}, received {said[:20]!r}")
    return url


class ServiceSettings(Settings):
    """Settings that gateway, trainer and scheduler share."""

    home: Annotated[Path, BeforeValidator(lambda given: given or HOME)] = Field(
        HOME, description="Folder of all files that have no setting of their own."
    )
    ledger_url: str = Field(
        default_factory=lambda known: make_sqlite_url(known["home"]),
        description="SQLAlchemy URL of the ledger.",
        repr=False,
    )
    ledger_password: Secret | None = Field(None, description="Password of the ledger's user, if not in its URL.")
    broker_url: Annotated[str, AfterValidator(check_broker_url)] = Field(
        "redis://127.0.0.1:6379/0", description="URL of the Redis broker.", repr=False
    )
    broker_password: Secret | None = Field(None, description="Password of the broker's user, if not in its URL.")
    log_level: str = Field("info", description="Lowest level that is logged: debug, info, warning or error.")

    @property
    def ledger(self) -> str:
        """Its URL, with the password."""
        return with_password(self.ledger_url, self.ledger_password)

    @property
    def broker(self) -> str:
        """Its URL, with the password."""
        return with_password(self.broker_url, self.broker_password)


def _check_store_url(url: str | None) -> str | None:
    return parse_location(url).url if url else None


class StoreSettings(PoolSettings, ServiceSettings):
    """Settings of processes that change the model store."""

    store: Path = Field(default_factory=below_home("store"), description="Folder of the model store.")
    store_url: Annotated[str | None, AfterValidator(_check_store_url)] = Field(
        None,
        description="URL of the bucket that holds the model store for all machines: s3://BUCKET/PREFIX, gs://, az://; "
        "needs the extra `objectstore`. The folder then follows it. Not set: the folder is the store.",
    )

    def open_store(self) -> "Store":
        """Connects to nothing yet; raises ``InvalidSettings`` if a bucket is named whose library is not installed."""
        from modelyard.models.registry.sharing.shared_store import open_store

        if self.store_url and find_spec("obstore") is None:
            raise InvalidSettings(
                "MODELYARD_STORE_URL: expected the package obstore with it, which is not installed: "
                "pip install 'modelyard[objectstore]'"
            )
        return open_store(self.store, self.store_url)


class KeySettings(ServiceSettings):
    """Settings of processes that create or check API keys."""

    key_secret: Secret | None = Field(
        None,
        description="Secret that API keys are hashed with, at least 32 characters; with it every request needs a key. "
        "Another one makes all keys useless.",
    )

    @field_validator("key_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < MIN_KEY_SECRET_CHARS:
            raise ValueError(
                f"expected at least {MIN_KEY_SECRET_CHARS} characters, received {len(secret.get_secret_value())}; "
                "`openssl rand -hex 32` makes one"
            )
        return secret

    @property
    def key_bytes(self) -> bytes:
        """The secret; raises ``InvalidSettings`` if there is none."""
        if self.key_secret is None:
            raise InvalidSettings(
                "MODELYARD_KEY_SECRET: there are no API keys without it; `openssl rand -hex 32` makes one"
            )
        return self.key_secret.get_secret_value().encode()


def find_secrets_folder() -> Path | None:
    """Folder of secrets; None if none is mounted.

    Raises:
        InvalidSettings: the variable does not name a folder.
    """
    named = os.environ.get(SECRETS_VARIABLE)
    folder = Path(named) if named else SECRETS
    if folder.is_dir():
        return folder
    if named:
        raise InvalidSettings(f"{SECRETS_VARIABLE}: {folder} is no folder")
    return None


def with_password(url: str, password: SecretStr | None) -> str:
    """A URL whose user, named or not, has this password; one inside the URL is replaced."""
    if password is None:
        return url
    parts = urlsplit(url)
    before, _, host = parts.netloc.rpartition("@")
    user = before.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password.get_secret_value(), safe='')}@{host}"))


def mask_password(value: str) -> str:
    """A URL without its password; anything else as it is."""
    return _PASSWORD.sub(r"\1:***@", value)
