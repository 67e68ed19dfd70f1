"""Settings of the trainer."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import NoDecode

from modelyard.pipeline.job import Place
from modelyard.services import broker, gpus
from modelyard.services.ledger import LEASE_S
from modelyard.services.settings import HOME, Addresses, ServiceSettings


class TrainerSettings(ServiceSettings):
    """What the Celery worker needs to know."""

    store: Path = Field(HOME / "store", description="Folder of the model store.")
    data_dir: Path = Field(HOME / "data", description="Folder where datasets are kept and looked for.")
    work_dir: Path = Field(
        HOME / "work",
        description="Folder for temporary files and checkpoints; workers that share it go on where others stopped.",
    )
    serving: Annotated[Addresses, NoDecode] = Field(
        ("127.0.0.1:8500",), description="Addresses of every model server, separated by commas."
    )
    gpus: int | None = Field(
        None, ge=0, le=64, description="GPUs that this worker trains on; counted if not set. Without any, the CPU."
    )
    visibility_timeout_s: float = Field(
        broker.VISIBILITY_TIMEOUT_S,
        ge=1,
        description="Seconds after which the broker gives out again what no worker has ended; more than any job takes.",
    )
    concurrency: int = Field(1, ge=1, le=64, description="Jobs that this worker runs at the same time.")
    feedback_share: float = Field(
        0.2, gt=0, le=1, description="Largest share of a job's feedback that may come from one client."
    )
    feedback_free: int = Field(
        1000, ge=0, description="Examples that one client may give in any case, whatever share that is."
    )
    heartbeat: Path | None = Field(None, description="File that is touched while it gets on, for health checks.")
    lease_s: float = Field(
        LEASE_S, ge=3, description="Seconds after which another worker goes on with a job of which nothing was heard."
    )
    drain_s: float = Field(60, ge=0, description="Seconds a running job gets to finish after SIGTERM, at most.")

    def gpu_count(self) -> int:
        """Those set; else those that this process may use."""
        return gpus.count() if self.gpus is None else self.gpus

    def place(self) -> Place:
        """Where jobs work."""
        return Place(self.store, self.data_dir, self.work_dir, self.serving)
