"""Settings of the scheduler."""

from pathlib import Path

from pydantic import Field

from services.settings import HOME, Settings


class SchedulerSettings(Settings):
    """What the process that decides without being asked needs to know."""

    store: Path = Field(HOME / "store", description="Folder of the model store; only rollouts are written.")
    ledger_url: str = Field(f"sqlite:///{HOME}/ledger.db", description="SQLAlchemy URL of the ledger.", repr=False)
    judge_s: float = Field(2.0, gt=0, le=600, description="Seconds between two looks at what was observed of canaries.")
    drift_s: float = Field(60.0, gt=0, le=86_400, description="Seconds between two looks at drift.")
    trigger_s: float = Field(10.0, gt=0, le=3600, description="Seconds between two looks at triggers.")
    search_s: float = Field(2.0, gt=0, le=3600, description="Seconds between two looks at searches.")
    broker_url: str = Field("redis://127.0.0.1:6379/0", description="URL of the Redis broker.", repr=False)
    log_level: str = Field("info", description="Least level that is logged: debug, info, warning or error.")
