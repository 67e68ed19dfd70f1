"""What a job's processes write: on to the worker's own log as it comes, and into the ledger for those who ask."""

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

log = structlog.get_logger()

CHUNK = 64 * 1024
EACH_S = 1.0
"""Between two writes into the ledger."""


class JobLog:
    """Reads a pipe in a thread of its own until nobody can write into it any more."""

    def __init__(self, pipe: IO[bytes], keep: Callable[[str], None]) -> None:
        """``keep`` takes some more text; if it raises ``StorageFailed``, that text is lost to the ledger only."""
        self._pipe, self._keep = pipe, keep
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._thread = threading.Thread(target=self._read, name="job log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Returns when all is written down that was written."""
        self._thread.join()
        self._pipe.close()

    def _read(self) -> None:
        text, kept_at = "", time.monotonic()
        while (chunk := self._next()) is not None:
            text += self._decoder.decode(chunk)
            if text and time.monotonic() - kept_at >= EACH_S:
                self._write_down(text)
                text, kept_at = "", time.monotonic()
        self._write_down(text)

    def _next(self) -> bytes | None:
        """What was written just now, perhaps nothing; None at the end."""
        ready, _, _ = select.select([self._pipe], [], [], EACH_S)
        if not ready:
            return b""
        chunk = os.read(self._pipe.fileno(), CHUNK)
        if sys.__stderr__:  # Celery puts something else into sys.stderr
            sys.__stderr__.buffer.write(chunk)
            sys.__stderr__.buffer.flush()
        return chunk or None

    def _write_down(self, text: str) -> None:
        if not text:
            return
        try:
            self._keep(text.replace("\0", ""))  # which PostgreSQL cannot hold
        except StorageFailed as error:
            log.warning("a job's log has a gap", cause=str(error))
