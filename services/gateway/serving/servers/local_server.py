"""The model server inside the gateway's process: its start, and all that the gateway may know of it.

The one file that imports the model server, and only where ``MODELYARD_SERVING=local``: an image of a gateway has none.
It is light, so that loading can begin before the rest of the gateway is imported.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from modelyard.services.modelserver.embedded import EmbeddedServer as EmbeddedServer  # noqa: PLC0414  # passed on
from modelyard.services.modelserver.embedded import InvalidConfig, parse_flags
from modelyard.services.modelserver.embedded import Refused as Refused  # noqa: PLC0414  # passed on
from modelyard.services.modelserver.embedded import WarmThreads as WarmThreads  # noqa: PLC0414  # passed on
from modelyard.services.modelserver.embedded import truncate_message as truncate_message  # noqa: PLC0414  # passed on

NO_DOOR = (
    "MODELYARD_SERVING=local needs --grpc_socket_path=PATH (or --port=N) in MODELYARD_SERVING_FLAGS: promotions, "
    "trainers and imports reach the model server there"
)

log = structlog.get_logger()


def open_server(flags: Sequence[str], default_config: Path, on_failure: Callable[[], None]) -> EmbeddedServer:
    """Starts a model server in this process, which then loads versions.

    Args:
        flags: of the model server.
        default_config: what is served if they do not say.
        on_failure: called once, in another thread, if nothing can be loaded any more.

    Raises:
        ModelyardError: its configuration cannot be read, or an address is taken.
        SystemExit: an invalid flag, after one line that names it.
    """
    given = any(flag.startswith(("--model_config_file=", "--model_base_path=")) for flag in flags)
    settings = parse_flags([*flags, *([] if given else [f"--model_config_file={default_config}"])])
    server = EmbeddedServer(settings, on_failure)
    if not server.addresses:
        raise InvalidConfig(NO_DOOR)
    log.info("model server in this process", **settings.model_dump(mode="json", exclude_unset=True))
    server.start()
    return server
