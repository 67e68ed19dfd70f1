"""Settings of the command line, where it calls a gateway."""

from pydantic import Field

from modelyard.services.settings import Secret, Settings


class ClientSettings(Settings):
    """Settings of a client of the gateway."""

    key: Secret | None = Field(None, description="API key that commands send to the gateway.")

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        return {"Authorization": f"Bearer {self.key.get_secret_value()}"} if self.key else {}
