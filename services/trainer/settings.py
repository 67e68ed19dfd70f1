"""Settings of the trainer."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import NoDecode

from modelyard.models.sources.files import Sources
from modelyard.models.sources.project import ModelSettings
from modelyard.pipeline.event_files import RUNS
from modelyard.pipeline.job import JobLocations
from modelyard.services import broker, gpus
from modelyard.services.ledger import LEASE_S
from modelyard.services.metrics.server import MetricsSettings
from modelyard.services.settings import ServingAddresses, StoreSettings, below_home
from modelyard.services.tracing.settings import TracingSettings


class TrainerSettings(TracingSettings, StoreSettings, ModelSettings, MetricsSettings):
    """Settings of the Celery worker."""

    data_dir: Path = Field(default_factory=below_home("data"), description="Folder of the datasets.")
    work_dir: Path = Field(
        default_factory=below_home("work"),
        description="Folder for temporary files and checkpoints; workers that share it resume jobs of others.",
    )
    tensorboard_dir: Path = Field(
        default_factory=below_home("tensorboard"), description="Folder of TensorBoard event files, `MODEL/JOB`."
    )
    tensorboard_runs: int = Field(
        RUNS, ge=0, description="Jobs of each model whose event files are kept, the newest; 0: none are written."
    )
    mlflow_url: str | None = Field(
        None,
        repr=False,
        description="URL of an MLflow tracking server, or `file:///FOLDER`, where each job is a run; needs the extra "
        "`mlflow`.",
    )
    serving: Annotated[ServingAddresses, NoDecode] = Field(
        ("127.0.0.1:8500",),
        description="Addresses of every model server, separated by commas; `dns:HOST:PORT`: all those of a name.",
    )
    gpus: int | None = Field(
        None,
        ge=0,
        le=64,
        description="Number of GPUs that this worker trains on; counted if not set. 0: trains on the CPU.",
    )
    visibility_timeout_s: float = Field(
        broker.VISIBILITY_TIMEOUT_S,
        ge=1,
        description="Seconds after which the broker redelivers an unfinished message; more than any job takes.",
    )
    concurrency: int = Field(1, ge=1, le=64, description="Maximum of jobs that this worker runs at the same time.")
    feedback_share: float = Field(
        0.2, gt=0, le=1, description="Maximum share of a job's feedback that may come from one client."
    )
    feedback_free: int = Field(
        1000, ge=0, description="Examples from one client that are always used, whatever their share."
    )
    heartbeat: Path | None = Field(
        None, description="File that is touched while the worker is alive, for health checks."
    )
    lease_s: float = Field(
        LEASE_S, ge=3, description="Seconds without a sign of life after which another worker takes over a job."
    )
    drain_s: float = Field(60, ge=0, description="Maximum seconds for running jobs to finish after SIGTERM.")

    def gpu_count(self) -> int:
        """The number set; else the number that this process may use."""
        return gpus.count() if self.gpus is None else self.gpus

    def locations(self) -> JobLocations:
        """Folders and addresses of jobs."""
        return JobLocations(
            self.store,
            self.data_dir,
            self.work_dir,
            self.serving,
            self.sources(),
            self.store_url,
            self.serving_pools,
            self.pool_memory,
            self.serving_files,
        )

    def sources(self) -> Sources:
        """Where models come from."""
        return Sources(self.models).resolve()

    def events(self, model: str, job: str) -> Path:
        """Folder of a job's event files."""
        return self.tensorboard_dir / model / job
