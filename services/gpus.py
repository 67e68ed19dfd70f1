"""Lists GPUs by NVIDIA's driver, without loading a framework."""

import os
import shutil
import subprocess
from functools import cache

VARIABLE = "CUDA_VISIBLE_DEVICES"
DRIVER_TIMEOUT_S = 20.0


def count() -> int:
    """Number of GPUs that a process started from here may use."""
    return len(list_visible())


def list_visible() -> tuple[str, ...]:
    """Their names for ``CUDA_VISIBLE_DEVICES``: its present value, else what the driver lists."""
    if VARIABLE in os.environ:
        return tuple(name.strip() for name in os.environ[VARIABLE].split(",") if name.strip() not in ("", "-1"))
    return _query_driver()


@cache
def _query_driver() -> tuple[str, ...]:
    if not (tool := shutil.which("nvidia-smi")):
        return ()
    try:
        reply = subprocess.run(
            [tool, "--list-gpus"], capture_output=True, text=True, timeout=DRIVER_TIMEOUT_S, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return ()  # a driver that does not answer has none to offer
    return tuple(str(index) for index, _ in enumerate(reply.stdout.splitlines()))
