"""Metrics of gateways that share a port: each gives its own on a Unix socket, and any of them shows those of all.

A sample of one gateway has the label ``worker``. The samples of a gateway that starts again begin at 0 under the same
label, which is what Prometheus expects of a counter; a sum over gateways that shrank would look like a burst.
"""

import asyncio
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

TIMEOUT_S = 5.0
"""For all other gateways to give their metrics, half of Prometheus' own; one that does not is left out."""
SHORTEST_S = 0.05
"""For one, however long those before it took."""
CHUNK_BYTES = 65_536
SOCKETS = "gateway-{}.sock"


class WorkerMetrics(Collector):
    """The metrics of all gateways that share a port."""

    def __init__(self, own: CollectorRegistry, worker: int, folder: Path) -> None:
        """``worker`` counts from 1; ``folder`` holds a socket for each, and nobody else may enter it."""
        self._own, self._worker, self._folder = own, worker, folder
        self._server: asyncio.Server | None = None

    async def serve(self) -> None:
        """Answers each connection to this gateway's socket with its metrics, from now on."""
        path = self._folder / SOCKETS.format(self._worker)
        path.unlink(missing_ok=True)  # of the process before
        self._server = await asyncio.start_unix_server(self._respond, path)  # uvloop closes one that nobody holds

    async def _respond(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await asyncio.to_thread(generate_latest, self._own))
        writer.close()

    def collect(self) -> Iterator[Metric]:
        """By name, of all gateways that answer."""
        merged: dict[str, Metric] = {}
        for worker, families in self._read_all():
            for family in families:
                known = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                known.samples += [
                    sample._replace(labels={**sample.labels, "worker": worker}) for sample in family.samples
                ]
        yield from merged.values()

    def _read_all(self) -> Iterator[tuple[str, Iterable[Metric]]]:
        own = self._folder / SOCKETS.format(self._worker)
        deadline = time.monotonic() + TIMEOUT_S
        for path in sorted(self._folder.glob(SOCKETS.format("*")), key=find_worker):
            left_s = max(SHORTEST_S, deadline - time.monotonic())
            text = generate_latest(self._own).decode() if path == own else read_socket(path, left_s)
            yield find_worker_name(path), text_string_to_metric_families(text)


def find_worker_name(path: Path) -> str:
    return path.stem.rpartition("-")[2]


def find_worker(path: Path) -> int:
    return int(find_worker_name(path))


def read_socket(path: Path, timeout_s: float) -> str:
    """All that is sent; empty if nobody answers in time."""
    parts = []
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            while part := connection.recv(CHUNK_BYTES):
                parts.append(part)
    except OSError:
        return ""
    return b"".join(parts).decode()
