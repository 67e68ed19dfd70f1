"""Settings of the scheduler."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import NoDecode

from modelyard.services.settings import Addresses, ServiceSettings, below_home


class SchedulerSettings(ServiceSettings):
    """Settings of the scheduler."""

    store: Path = Field(
        default_factory=below_home("store"), description="Folder of the model store; only rollouts are written."
    )
    heartbeat: Path | None = Field(None, description="File that is touched while it runs, for health checks.")
    judge_s: float = Field(2.0, gt=0, le=600, description="Seconds between two analyses of a canary.")
    drift_s: float = Field(60.0, gt=0, le=86_400, description="Seconds between two measurements of drift.")
    trigger_s: float = Field(10.0, gt=0, le=3600, description="Seconds between two checks of triggers.")
    first_models: Annotated[Addresses, NoDecode] = Field(
        (),
        description="Models that a job is submitted for while none of their versions is stable, once a day at most; "
        "separated by commas.",
    )
    first_s: float = Field(5.0, gt=0, le=3600, description="Seconds between two checks of them.")
    search_s: float = Field(2.0, gt=0, le=3600, description="Seconds between two checks of searches.")
