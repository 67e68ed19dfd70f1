"""Lists one model in a process of its own, which is ended whatever the model's file does."""

import os
import select
import signal
import subprocess
import threading
import time
from contextlib import suppress
from typing import IO

from pydantic import ValidationError

from modelyard.models.listing import Listed
from modelyard.models.sources.files import ModelFile, show
from modelyard.pipeline.processes.forkserver import ForkedProcess, ForkServer

LISTING = "modelyard.models.listing"
LISTING_S = 60
"""Seconds for one model: on a loaded machine, imports take long."""
SPARE_S = 60.0
"""Seconds beyond its own limit after which the process is ended: the fork server may have to import Keras first."""
EXIT_S = 2.0
"""Seconds for the process to end when it has nothing more to say."""
POLL_INTERVAL_S = 0.2
CHUNK, MAX_OUTPUT = 65_536, 4_194_304


def list_in_process(file: ModelFile, forks: ForkServer, stopped: threading.Event, limit_s: int = LISTING_S) -> Listed:
    """What is known of a model's file, in ``limit_s`` seconds; ``stopped`` ends it early."""
    try:
        process = forks.start(LISTING, file.name, str(file.path), file.module, str(limit_s), own_group=True)
    except OSError as error:
        return Listed(error=f"{show(file.path)}: no process to load it in: {error}", may_pass=True)
    with process:
        output = read_output(process.stdout, stopped, limit_s + SPARE_S)
        if output is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(EXIT_S)
        kill_group(process)
        process.wait()
    return parse_output(file, output, process.returncode, limit_s)


def read_output(pipe: IO[bytes], stopped: threading.Event, limit_s: float) -> bytes | None:
    """All that comes until the pipe is closed; None if that takes too long, or is too much."""
    deadline, output = time.monotonic() + limit_s, b""
    while time.monotonic() < deadline and not stopped.is_set() and len(output) < MAX_OUTPUT:
        if select.select([pipe], [], [], POLL_INTERVAL_S)[0]:
            chunk = os.read(pipe.fileno(), CHUNK)
            if not chunk:
                return output
            output += chunk
    return None


def kill_group(process: ForkedProcess) -> None:
    """SIGKILL to the process and all that it started."""
    if process.pid is not None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def parse_output(file: ModelFile, output: bytes | None, returncode: int | None, limit_s: int) -> Listed:
    """The result, or how the process ended without one."""
    with suppress(ValidationError):
        return Listed.model_validate_json(output or b"")
    if output is None or returncode == -signal.SIGALRM:
        return Listed(error=f"{show(file.path)}: loading it takes longer than {limit_s} s")
    how = signal.Signals(-returncode).name if returncode and returncode < 0 else f"exit status {returncode}"
    return Listed(error=f"{show(file.path)}: loading it ended the process ({how})", may_pass=how == "SIGKILL")
