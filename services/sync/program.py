"""Asks the bucket something from a process that forks others: the library's threads are in no fork, and it would hang.

So a program of its own asks, and ends.
"""

import os
import subprocess
import sys
from pathlib import Path

from modelyard.models.errors import StorageFailed
from modelyard.services.settings import StoreSettings
from modelyard.services.sync.process import PREPARE, SHARE

TIMEOUT_S = 180.0


def prepare_store(settings: StoreSettings) -> None:
    """As ``Store.prepare``. Raises ``StorageFailed``."""
    if settings.store_url is None:
        settings.open_store().prepare()
    else:
        _ask(settings, PREPARE)


def share_file(settings: StoreSettings, path: Path) -> None:
    """Writes a file of the store's folder into the bucket, if there is one. Raises ``StorageFailed``."""
    if settings.store_url is not None:
        _ask(settings, SHARE, str(path))


def _ask(settings: StoreSettings, *arguments: str) -> None:
    named = {"MODELYARD_STORE": str(settings.store), "MODELYARD_STORE_URL": settings.store_url or ""}
    command = [sys.executable, "-m", "modelyard.services.sync", *arguments]
    try:
        done = subprocess.run(
            command, env=os.environ | named, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise StorageFailed(f"object store {settings.store_url}: no answer within {TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise StorageFailed((done.stderr.strip().splitlines() or ["the object store's program ended"])[-1])
