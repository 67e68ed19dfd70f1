"""Settings of every process: frozen, from ``MODELYARD_*`` variables, documented, masked in logs.

Secrets come from files, one for each, as container engines mount them: ``/run/secrets/modelyard_ledger_password``.
"""

import os
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from modelyard.models.registry.bucket.location import parse_location
from modelyard.models.sources.pool_settings import PoolSettings
from modelyard.models.sources.project import InvalidSettings as InvalidSettings  # noqa: PLC0414  # it is raised here too
from modelyard.models.sources.project import ProjectSettings
from modelyard.models.sources.project_file import HOME as HOME  # noqa: PLC0414  # a default of settings
from modelyard.models.tfserving.addresses import is_name, split_name
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.services.tls.broker_url import check_broker_url
from modelyard.services.tls.files import PemFile, check_certificates, check_pair
from modelyard.services.tls.plain import KINDS, require_protected
from modelyard.services.tls.plain import is_loopback as is_loopback  # noqa: PLC0414  # of settings
from modelyard.services.tls.urls import add_broker_files, add_ledger_files

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


def _check_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"expected {', '.join(KINDS)}; received {kind!r}")
    return kinds


Kinds = Annotated[tuple[str, ...], BeforeValidator(split_list), AfterValidator(_check_kinds)]
"""Kinds of connections, separated by commas in the environment (mark the field ``NoDecode``)."""
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


def make_sqlite_url(home: Path) -> str:
    """SQLAlchemy's URL of the ledger in a folder whose name may have any character."""
    return f"sqlite:///{quote(str(home / 'ledger.db'))}"


def below_home(name: str) -> Callable[[dict[str, Any]], Path]:
    """The default of a setting: a folder in ``home``."""
    return lambda known: known["home"] / name


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
    tls_ca: Annotated[PemFile, AfterValidator(check_certificates)] = Field(
        None,
        description="File of the certificate authorities, in PEM, that broker, ledger and model servers have to be of. "
        "With it a PostgreSQL is spoken to by TLS alone, unless its URL says otherwise.",
    )
    tls_certificate: Annotated[PemFile, AfterValidator(check_certificates)] = Field(
        None, description="File of the certificate, in PEM, that this process shows them (mutual TLS)."
    )
    tls_key: PemFile = Field(
        None,
        validate_default=True,
        description="File of its key, without a passphrase: mode 0600 at most, or 0640 of root's.",
    )
    serving_tls: bool = Field(
        False, description="Whether model servers are spoken to by TLS, but for unix sockets; needs MODELYARD_TLS_CA."
    )
    allow_plain: Annotated[Kinds, NoDecode] = Field(
        (),
        description="Connections to other machines that may do without TLS, of broker, ledger and serving, separated "
        "by commas. Of others a process says so, and does not start.",
    )

    @property
    def ledger(self) -> str:
        """Its URL, with the password, and files of TLS."""
        return add_ledger_files(with_password(self.ledger_url, self.ledger_password), self.tls_files)

    @property
    def broker(self) -> str:
        """Its URL, with the password, and files of TLS."""
        return add_broker_files(with_password(self.broker_url, self.broker_password), self.tls_files)

    @property
    def tls_files(self) -> TlsFiles:
        return TlsFiles(self.tls_ca, self.tls_certificate, self.tls_key)

    @property
    def serving_files(self) -> TlsFiles | None:
        """Of connections to model servers; None: they are plain."""
        return self.tls_files if self.serving_tls else None

    def require_protected(self, serving: Sequence[str] = ()) -> None:
        """Raises ``InvalidSettings`` if a connection to another machine would be plain, and may not be."""
        require_protected(self.broker, self.ledger, () if self.serving_tls else serving, self.allow_plain)

    @field_validator("tls_key")
    @classmethod
    def _belongs(cls, key: Path | None, before: ValidationInfo) -> Path | None:
        if "tls_certificate" in before.data:  # else that one was refused
            check_pair(before.data["tls_certificate"], key, "MODELYARD_TLS_CERTIFICATE")
        return key

    @field_validator("serving_tls")
    @classmethod
    def _has_authorities(cls, wanted: bool, before: ValidationInfo) -> bool:
        if wanted and before.data.get("tls_ca") is None:
            raise ValueError("expected MODELYARD_TLS_CA with it: whose certificates to believe")
        return wanted


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
