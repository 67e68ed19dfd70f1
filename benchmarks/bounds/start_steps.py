"""Steps of a start, each with the moment at which it was done: ``python -m benchmarks.bounds.start_steps STEP ...``.

A bare process: no HTTP, no gateway. Prints a JSON line for each step, the first one as soon as this line of Python is
reached, and stays until its standard input is closed, so that its memory can be read.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

PYTHON, LIBRARY, MODEL_SERVER, GATEWAY, AT_ONCE = (
    "python",
    "library",
    "model server's imports",
    "gateway's imports",
    "+",
)
"""Any other step is the folder of a version, or several folders with ``+`` between them: loaded at once."""


class Steps:
    """What one start does."""

    def __init__(self) -> None:
        self._runtime: Any = None

    def take(self, step: str) -> None:
        known: dict[str, Callable[[], None]] = {
            PYTHON: lambda: None,
            LIBRARY: self.load_library,
            MODEL_SERVER: self.import_model_server,
            GATEWAY: self.import_gateway,
        }
        known.get(step, partial(self.load_versions, step.split(AT_ONCE)))()

    def load_library(self) -> None:
        """TensorFlow's shared library, by ctypes."""
        from modelyard.services.modelserver.runtime.tensorflow_c import TensorFlowC, library_path

        TensorFlowC(library_path())

    def import_model_server(self) -> None:
        """What loads and runs a version."""
        from benchmarks.bounds.graphs import limit_memory_arenas
        from modelyard.services.modelserver.lifecycle import first_run, loader

        del first_run, loader
        limit_memory_arenas()

    def import_gateway(self) -> None:
        """All that a gateway's process imports before it listens."""
        import uvloop

        from modelyard.services.gateway import __main__, lifecycle

        del uvloop, __main__, lifecycle

    def load_versions(self, folders: list[str]) -> None:
        """Each in a thread of its own, as it is served, up to its first answer: to zeros, or to an empty text."""
        from modelyard.services.modelserver.lifecycle.loader import start_runtime

        if self._runtime is None:
            self._runtime = start_runtime(0, 0)
        threads = [threading.Thread(target=self._load_version, args=(Path(folder),)) for folder in folders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _load_version(self, folder: Path) -> None:
        from modelyard.services.modelserver.lifecycle.first_run import run_once
        from modelyard.services.modelserver.runtime.saved_model import load_saved_model

        run_once(load_saved_model(self._runtime, folder))


if __name__ == "__main__":
    import gc

    gc.disable()  # as the gateway does until everything is loaded
    steps = Steps()
    for name in sys.argv[1:]:
        steps.take(name)
        print(json.dumps({"step": name, "at": time.monotonic()}), flush=True)
    sys.stdin.read()
