"""The output of a job's processes: copied to the worker's own log at once, and into the ledger at intervals."""

import codecs
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import IO

import structlog

from modelyard.models.errors import StorageFailed
from modelyard.services.logs import LogStream

log = structlog.get_logger()

CHUNK = 64 * 1024
WRITE_INTERVAL_S = 1.0
"""Seconds between two writes into the ledger."""


class JobLog:
    """Reads a pipe in a thread of its own until every writer has closed it."""

    def __init__(self, pipe: IO[bytes], record: Callable[[str], None]) -> None:
        """``record`` appends text to the ledger; if it raises ``StorageFailed``, only the ledger lacks that text."""
        self._pipe, self._record = pipe, record
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._thread = threading.Thread(target=self._read, name="job log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Returns when all output is recorded."""
        self._thread.join()
        self._pipe.close()

    def _read(self) -> None:
        text, recorded_at = "", time.monotonic()
        while (chunk := self._read_chunk()) is not None:
            text += self._decoder.decode(chunk)
            if text and time.monotonic() - recorded_at >= WRITE_INTERVAL_S:
                self._write_text(text)
                text, recorded_at = "", time.monotonic()
        self._write_text(text)

    def _read_chunk(self) -> bytes | None:
        """The bytes written since the last call, perhaps none; None at the end."""
        ready, _, _ = select.select([self._pipe], [], [], WRITE_INTERVAL_S)
        if not ready:
            return b""
        chunk = os.read(self._pipe.fileno(), CHUNK)
        if sys.__stderr__:  # Celery replaces sys.stderr
            LogStream(sys.__stderr__.buffer).write(chunk)
        return chunk or None

    def _write_text(self, text: str) -> None:
        if not text:
            return
        try:
            self._record(text.replace("\0", ""))  # which PostgreSQL cannot hold
        except StorageFailed as error:
            log.warning("job log has a gap", cause=str(error))
