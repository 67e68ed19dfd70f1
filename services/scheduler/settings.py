"""Settings of the scheduler."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from modelyard.services.ledger import Kind
from modelyard.services.metrics.server import MetricsSettings
from modelyard.services.scheduler.notifications.settings import NotificationSettings
from modelyard.services.settings import Addresses, ServingAddresses, StoreSettings, below_home
from modelyard.services.tracing.settings import TracingSettings

YEAR, TEN_YEARS, QUARTER = 365.0, 3650.0, 90.0
AUDIT_DAYS: Mapping[Kind, float] = {
    Kind.JOB: YEAR,
    Kind.SEARCH: YEAR,
    Kind.TRIGGER: YEAR,
    Kind.ROLLOUT: TEN_YEARS,
    Kind.VERSION: TEN_YEARS,
    Kind.KEY: TEN_YEARS,
    Kind.DENIED: QUARTER,
    Kind.AUDIT: TEN_YEARS,
}


def parse_audit_days(value: object) -> object:
    """``job=365,denied=90`` over the defaults. Raises ``ValueError``."""
    if not isinstance(value, str):
        return value
    found = dict(AUDIT_DAYS)
    for part in filter(None, map(str.strip, value.split(","))):
        kind, _, days = part.partition("=")
        if kind not in list(Kind) or not days.isdecimal() or int(days) < 1:
            raise ValueError(f"expected KIND=DAYS, of {', '.join(Kind)}; received {part!r}")
        found[Kind(kind)] = float(days)
    return found


class SchedulerSettings(StoreSettings, MetricsSettings, NotificationSettings, TracingSettings):
    """Settings of the scheduler."""

    store: Path = Field(
        default_factory=below_home("store"), description="Folder of the model store; only rollouts are written."
    )
    heartbeat: Path | None = Field(None, description="File that is touched while it runs, for health checks.")
    serving: Annotated[ServingAddresses, NoDecode] = Field(
        ("127.0.0.1:8500",),
        description="Addresses of every model server, separated by commas, `dns:HOST:PORT` for all those of a name: "
        "while none can be reached, versions are checked again, as one that is damaged keeps TensorFlow Serving from "
        "starting.",
    )
    config_s: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Seconds between two checks of models.config: what was damaged enters it again when it is whole.",
    )
    judge_s: float = Field(2.0, gt=0, le=600, description="Seconds between two analyses of a canary.")
    drift_s: float = Field(60.0, gt=0, le=86_400, description="Seconds between two measurements of drift.")
    trigger_s: float = Field(10.0, gt=0, le=3600, description="Seconds between two checks of triggers.")
    first_models: Annotated[Addresses, NoDecode] = Field(
        (),
        description="Models that a job is submitted for while none of their versions is stable, once a day at most; "
        "separated by commas.",
    )
    first_s: float = Field(5.0, gt=0, le=3600, description="Seconds between two checks of them.")
    history_s: float = Field(
        5.0, gt=0, le=3600, description="Seconds between two checks of rollouts' histories for the audit trail."
    )
    audit_days: Annotated[Mapping[Kind, float], NoDecode, BeforeValidator(parse_audit_days)] = Field(
        AUDIT_DAYS,
        description="Days that entries of the audit trail are kept, by kind, such as job=365,denied=90; those not "
        "named keep their default.",
    )
    search_s: float = Field(2.0, gt=0, le=3600, description="Seconds between two checks of searches.")
