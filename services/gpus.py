"""Which GPUs there are, asked of NVIDIA's driver without loading a framework."""

import os
import shutil
import subprocess
from functools import cache

VARIABLE = "CUDA_VISIBLE_DEVICES"
ASK_S = 20.0


def count() -> int:
    """GPUs that a process started from here may use."""
    return len(visible())


def visible() -> tuple[str, ...]:
    """Their names for ``CUDA_VISIBLE_DEVICES``: what that says already, else what the driver lists."""
    if VARIABLE in os.environ:
        return tuple(name.strip() for name in os.environ[VARIABLE].split(",") if name.strip() not in ("", "-1"))
    return _listed()


@cache
def _listed() -> tuple[str, ...]:
    if not (tool := shutil.which("nvidia-smi")):
        return ()
    try:
        asked = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, timeout=ASK_S, check=True)
    except (subprocess.SubprocessError, OSError):
        return ()  # a driver that does not answer has none to offer
    return tuple(str(index) for index, _ in enumerate(asked.stdout.splitlines()))
