"""Settings of the command line: where it calls a gateway, and where it migrates."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from modelyard.models.registry.store import Store
from modelyard.models.sources.pool_settings import PoolSettings
from modelyard.services.settings import Secret, ServiceSettings, Settings, StoreSettings, below_home, split_list

if TYPE_CHECKING:
    from modelyard.services.ledger import Ledger


class ClientSettings(Settings):
    """Settings of a client of the gateway, as ``modelyard.client.options`` reads them; here for the reference."""

    api_key: Secret | None = Field(None, description="API key that commands, and the Python client, send.")
    key: Secret | None = Field(None, description="The same; `MODELYARD_API_KEY` wins.")
    key_file: Path | None = Field(None, description="File that holds the key, where no variable does.")


def open_home_store(home: Path) -> Store:
    """The model store below a home, or the bucket's that MODELYARD_STORE_URL names."""
    return StoreSettings.load(store=home.resolve() / "store").open_store()


def open_ledger(settings: ServiceSettings) -> "Ledger":
    """The ledger; raises ``InvalidSettings`` if it is on another machine, and would be spoken to without TLS."""
    from modelyard.services.ledger import Ledger  # SQLAlchemy takes longer to import than most commands run

    settings.require_protected()
    return Ledger(settings.ledger)


class ConnectionSettings(PoolSettings, ServiceSettings):
    """Where processes connect to, for `modelyard doctor`; what is not set is not checked."""

    serving: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_list)] = Field(
        (), description="Addresses of the model servers."
    )


class MigrationSettings(StoreSettings):
    """Settings of `modelyard migrate`, whose ledger user owns the tables."""

    store: Path = Field(default_factory=below_home("store"), description="Folder of the model store, which is made.")
    gateway_ledger_password: Secret | None = Field(
        None, description="Password of the role `modelyard_gateway`, which is made in PostgreSQL if it is set."
    )
    scheduler_ledger_password: Secret | None = Field(None, description="Likewise of `modelyard_scheduler`.")
    trainer_ledger_password: Secret | None = Field(
        None, description="Likewise of `modelyard_trainer`, which sees no keys and changes only how jobs go."
    )

    @property
    def passwords(self) -> Mapping[str, str]:
        """Those that are set, by role."""
        found = {
            "modelyard_gateway": self.gateway_ledger_password,
            "modelyard_scheduler": self.scheduler_ledger_password,
            "modelyard_trainer": self.trainer_ledger_password,
        }
        return {role: password.get_secret_value() for role, password in found.items() if password}
