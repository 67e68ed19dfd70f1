"""The page of settings."""

from collections.abc import Mapping

from pydantic.fields import FieldInfo

from modelyard.services.cli.settings import ClientSettings, MigrationSettings
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.settings import HOME, Settings
from modelyard.services.sync.settings import SyncSettings
from modelyard.services.tracing.settings import TracingSettings
from modelyard.services.trainer.settings import TrainerSettings

PROCESSES: tuple[tuple[str, type[Settings]], ...] = (
    ("Gateway", GatewaySettings),
    ("Model server", TracingSettings),
    ("Trainer", TrainerSettings),
    ("Scheduler", SchedulerSettings),
    ("Sync", SyncSettings),
    ("Migration", MigrationSettings),
    ("Command line", ClientSettings),
)

HEAD = """# Settings

Written by `make docs` from the code. Every process reads its settings once, at the start, from environment variables,
logs them with secrets masked, and exits with the reason if one is wrong. A password or key is better kept in a file of
its own: `MODELYARD_LEDGER_PASSWORD` is also read from `modelyard_ledger_password` in `/run/secrets`, or in the folder
that `MODELYARD_SECRETS_DIR` names, and so is every other variable.
Besides its two variables the model server takes flags named as TensorFlow Serving names them:
`python -m modelyard.services.modelserver --help`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(title, settings) for title, settings in PROCESSES)])


def section(title: str, settings: type[Settings]) -> str:
    rows = [
        f"| `MODELYARD_{name.upper()}` | `{format_default(find_default(field))}` | {field.description} |"
        for name, field in settings.model_fields.items()
    ]
    return "\n".join([f"## {title}\n", "| variable | default | meaning |", "|---|---|---|", *rows, ""])


def find_default(field: FieldInfo) -> object:
    """The default; of what lies in the home folder, in that one's default."""
    return field.get_default(call_default_factory=True, validated_data={"home": HOME})


def format_default(default: object) -> str:
    if isinstance(default, Mapping):
        return ",".join(f"{name}={value:g}" for name, value in default.items())
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
