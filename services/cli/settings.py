"""Settings of the command line, where it calls a gateway."""

from pydantic import Field

from modelyard.services.settings import Secret, Settings


class ClientSettings(Settings):
    """What a caller of the gateway needs to know."""

    key: Secret | None = Field(None, description="API key that commands show to the gateway, if it has keys.")

    @property
    def headers(self) -> dict[str, str]:
        """What every request bears."""
        return {"Authorization": f"Bearer {self.key.get_secret_value()}"} if self.key else {}
