"""Settings of the scheduler."""

from pathlib import Path

from pydantic import Field

from services.settings import HOME, ServiceSettings


class SchedulerSettings(ServiceSettings):
    """What the process that decides without being asked needs to know."""

    store: Path = Field(HOME / "store", description="Folder of the model store; only rollouts are written.")
    judge_s: float = Field(2.0, gt=0, le=600, description="Seconds between two looks at what was observed of canaries.")
    drift_s: float = Field(60.0, gt=0, le=86_400, description="Seconds between two looks at drift.")
    trigger_s: float = Field(10.0, gt=0, le=3600, description="Seconds between two looks at triggers.")
    search_s: float = Field(2.0, gt=0, le=3600, description="Seconds between two looks at searches.")
