"""Services that are taken away while they start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

SERVICES = ("gateway", "modelserver", "scheduler", "sync", "trainer")
HANGS = """
import pathlib, threading
pathlib.Path(__file__).with_name("reached").touch()
threading.Event().wait()
"""


@pytest.mark.parametrize("service", SERVICES)
def test_sigterm_ends_a_service_that_still_imports(service: str, tmp_path: Path) -> None:
    """It has a handler from the first: without one, the first process of a container does not notice the signal."""
    (tmp_path / "structlog.py").write_text(HANGS)
    command = [sys.executable, "-m", f"modelyard.services.{service}"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(tmp_path)}) as process:
        wait_until((tmp_path / "reached").exists, what="its imports")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
