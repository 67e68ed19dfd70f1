"""Polling: ``models.config`` by its content, and anything else at an interval."""

import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from modelyard.models.errors import ModelyardError
from modelyard.services.modelserver.errors import InvalidConfig
from modelyard.services.modelserver.lifecycle import config
from modelyard.services.modelserver.lifecycle.config import ModelSet

log = structlog.get_logger()


class ConfigFile:
    """The configuration file. Equal content changes nothing, and a fault is logged once."""

    def __init__(self, path: Path, apply: Callable[[ModelSet], None]) -> None:
        self._path = path
        self._apply = apply
        self._applied: str | None = None
        self._fault = ""

    def read(self) -> None:
        """Applies the file unless its content is what was applied last.

        Raises:
            ModelyardError: it cannot be read, understood or followed; what was applied before stays in force.
        """
        try:
            content = self._path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfig(f"cannot read model_config_file {self._path}: {error}") from error
        if content != self._applied:
            self._apply(config.parse(content))
            self._applied = content

    def poll(self) -> None:
        """``read()`` for a server that is up: logs a fault, once, and goes on."""
        try:
            self.read()
        except ModelyardError as error:
            if str(error) != self._fault:
                log.warning("config_refused", cause=str(error))
            self._fault = str(error)
        else:
            self._fault = ""


def repeat(act: Callable[[], None], interval_s: float, stopping: threading.Event) -> None:
    """Acts every ``interval_s`` until stopped; never, if the interval is 0."""
    while interval_s and not stopping.wait(interval_s):
        try:
            act()
        except Exception:  # the outermost boundary of a poll: the next one may succeed
            log.exception("poll_failed")
