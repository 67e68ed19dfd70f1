"""``modelyard.toml`` as commands read it."""

from modelyard.models.errors import describe_unknown
from modelyard.models.sources.project import PROJECT, InvalidSettings, read_project
from modelyard.services.cli.settings import ClientSettings, MigrationSettings
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.trainer.settings import TrainerSettings

PROCESSES = (GatewaySettings, TrainerSettings, SchedulerSettings, MigrationSettings, ClientSettings)


def check_project() -> None:
    """Checks the names in the project's file, which each process would ignore.

    Raises:
        InvalidSettings: there is no setting of that name; with the closest.
    """
    known = {name for process in PROCESSES for name in process.model_fields}
    for name in read_project():
        if name not in known:
            raise InvalidSettings(f"{PROJECT}: {describe_unknown('setting', name, known)}")
