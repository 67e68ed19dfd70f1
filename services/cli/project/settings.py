"""``modelyard.toml`` as commands read it."""

from collections.abc import Callable
from typing import Any

from modelyard.models.errors import describe_unknown
from modelyard.models.sources.project import PROJECT, InvalidSettings, read_project, split_paths
from modelyard.services.cli.settings import ClientSettings, MigrationSettings
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.trainer.settings import TrainerSettings

PROCESSES = (GatewaySettings, TrainerSettings, SchedulerSettings, MigrationSettings, ClientSettings)


def read_setting(name: str, default: Any) -> Callable[[], Any]:
    """The default of an option: what the project's file says, else ``default``."""
    return lambda: read_project().get(name, default)


def read_folders() -> list[str]:
    """The default of ``--models``."""
    found = split_paths(read_project().get("models", ()))
    return list(found) if isinstance(found, list | tuple) else []


def check_project() -> None:
    """Checks the names in the project's file, which each process would ignore.

    Raises:
        InvalidSettings: there is no setting of that name; with the closest.
    """
    known = {name for process in PROCESSES for name in process.model_fields}
    for name in read_project():
        if name not in known:
            raise InvalidSettings(f"{PROJECT}: {describe_unknown('setting', name, known)}")
