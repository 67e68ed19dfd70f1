"""Polls the configuration file, and anything else, at an interval."""

import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from modelyard.models.errors import ModelyardError
from modelyard.services.modelserver.errors import InvalidConfig
from modelyard.services.modelserver.lifecycle.config import ModelSet, parse_config

log = structlog.get_logger()


class ConfigFile:
    """The configuration file. It is applied when its content changes; an error is logged once."""

    def __init__(self, path: Path, apply: Callable[[ModelSet], None]) -> None:
        self._path = path
        self._apply = apply
        self._applied: str | None = None
        self._error = ""

    def apply_changes(self) -> None:
        """Applies the file if its content has changed.

        Raises:
            ModelyardError: it cannot be read, parsed or applied; the previous configuration stays in force.
        """
        try:
            content = self._path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfig(f"cannot read model_config_file {self._path}: {error}") from error
        if content != self._applied:
            self._apply(parse_config(content))
            self._applied = content

    def poll(self) -> None:
        """As ``apply_changes()``, but logs an error, once, instead of raising it."""
        try:
            self.apply_changes()
        except ModelyardError as error:
            if str(error) != self._error:
                log.warning("config_rejected", cause=str(error))
            self._error = str(error)
        else:
            self._error = ""


def run_periodically(act: Callable[[], None], interval_s: float, stopping: threading.Event) -> None:
    """Calls ``act`` every ``interval_s`` until stopped; never, if the interval is 0."""
    while interval_s and not stopping.wait(interval_s):
        try:
            act()
        except Exception:  # the outermost boundary of a poll: the next one may succeed
            log.exception("poll_failed")
