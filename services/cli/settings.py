"""Settings of the command line, where it calls a gateway."""

from pydantic import Field, SecretStr, field_validator

from services.settings import Settings, not_empty


class ClientSettings(Settings):
    """What a caller of the gateway needs to know."""

    key: SecretStr | None = Field(None, description="API key that commands show to the gateway, if it has keys.")

    @field_validator("key")
    @classmethod
    def _not_empty(cls, key: SecretStr | None) -> SecretStr | None:
        return not_empty(key)

    @property
    def headers(self) -> dict[str, str]:
        """What every request bears."""
        return {"Authorization": f"Bearer {self.key.get_secret_value()}"} if self.key else {}
