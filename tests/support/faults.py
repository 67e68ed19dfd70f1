"""Traffic on a model server, what it logs, and ways to damage a version."""

import threading
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import structlog

from modelyard.models.registry import manifest
from modelyard.models.registry.store import checksums
from modelyard.models.tfserving.messages import from_proto
from tests.support.modelserver import TIMEOUT_S, Served, X, request


class Traffic:
    """Unpinned requests from a few threads until stopped; notes every failed or wrong answer."""

    def __init__(self, served: Served, threads: int = 3) -> None:
        self._served = served
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]
        self.versions: list[int] = []
        self.faults: list[str] = []

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stopping.is_set():
            try:
                reply = self._served.prediction.Predict(request(x=X), timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                self.faults.append(str(error))
                continue
            version = reply.model_spec.version.value
            self.versions.append(version)
            if not np.array_equal(from_proto(reply.outputs["y"]), X / 2 + version):
                self.faults.append(f"wrong answer from {version}")


class Events:
    """Names of the log records of a test so far."""

    def __init__(self, records: list[MutableMapping[str, Any]]) -> None:
        self._records = records

    @property
    def names(self) -> list[str]:
        return [record["event"] for record in self._records]


@pytest.fixture
def events() -> Iterator[Events]:
    with structlog.testing.capture_logs() as records:
        yield Events(records)


def truncate_variables(folder: Path) -> None:
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(b"")


def garble(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"\xff" * 100)


def sealed(then: Callable[[Path], object] = lambda _: None) -> Callable[[Path], None]:
    """Writes a manifest, then does something to the folder."""

    def edit(folder: Path) -> None:
        files = "".join(f'"{name}": "{digest}", ' for name, digest in checksums(folder).items())
        (folder / manifest.FILE).parent.mkdir()
        (folder / manifest.FILE).write_text(f'{{"files": {{{files.removesuffix(", ")}}}}}')
        then(folder)

    return edit


def flip_a_byte(folder: Path) -> None:
    path = folder / "variables" / "variables.index"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
