"""Settings of the process that follows a bucket."""

from pathlib import Path

from pydantic import Field

from modelyard.services.metrics.server import MetricsSettings
from modelyard.services.settings import StoreSettings


class SyncSettings(StoreSettings, MetricsSettings):
    """Settings of the process that follows a bucket; it reads there, and writes nothing."""

    sync_s: float = Field(
        2.0, ge=0.1, le=3600, description="Seconds between two looks at what has changed in the bucket."
    )
    sync_served_only: bool = Field(
        False,
        description="Whether only versions that have a role in a rollout come into the folder, as a model server needs "
        "no others; else all do.",
    )
    heartbeat: Path | None = Field(
        None, description="File that is touched once everything that is served is there, and then while it runs."
    )
