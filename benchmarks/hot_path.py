"""What one answer costs in the gateway's own Python: ``python -m benchmarks.hot_path --store .bench/store``.

The gateway's RSGI application on uvloop in this process, between an HTTP server and a model that cost nothing: requests
are handed to it as granian would, and a replica answers each call at once with rows of the right shape. What is left
is what the gateway itself does. Prints microseconds of processor time per answer for each kind of request, in closed
loops of 1 and 32 callers: the least of twenty turns, as the rest is what else the machine does, and the median. With
``--profile`` also where the time goes, by function.
"""

import asyncio
import cProfile
import pstats
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import uvloop

from benchmarks.serving.roster import OURS
from benchmarks.serving.workload import Workload, load_all
from modelyard.models.registry.manifest import TensorSpec
from modelyard.models.registry.store import Store
from modelyard.models.types import DEFAULT_POOL, Array
from modelyard.services import logs
from modelyard.services.gateway.http.greenlets import EventLoop
from modelyard.services.gateway.inference.fast_path import FastPath
from modelyard.services.gateway.inference.prediction import Predictions
from modelyard.services.gateway.lifecycle import tune_gc
from modelyard.services.gateway.limits.rate_limits import RateLimits
from modelyard.services.gateway.limits.shared_buckets import SharedBuckets
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.server.rsgi import RsgiApp
from modelyard.services.gateway.serving.batching.calls import Outputs, Target
from modelyard.services.gateway.serving.predictor import Predictor
from modelyard.services.gateway.serving.servers.pools import Pools
from modelyard.services.gateway.serving.servers.replicas import PredictCall, Replicas
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger

CALLERS = (1, 32)
TURNS = 20
SHOWN = 45


class InstantReplica:
    """A model server that costs nothing."""

    address = "instant"
    in_flight = 0
    avoid_until = 0.0

    def __init__(self, store: Store) -> None:
        self._store = store
        self._specs: dict[Target, tuple[TensorSpec, ...]] = {}

    async def call(self, method: str, request: PredictCall, timeout_s: float) -> Any:
        """Outputs of the right types and shapes, all ones, in the loop's next iteration but one."""
        del method, timeout_s
        await asyncio.sleep(0)
        target = request.target
        assert target.version is not None
        if target not in self._specs:
            manifest = self._store.manifest(target.model, target.version)
            self._specs[target] = manifest.signatures[target.signature].outputs
        rows = len(next(iter(request.inputs.values())))
        return Outputs({spec.name: ones(spec, rows) for spec in self._specs[target]}, target.version)

    def was_reached(self) -> bool:
        return True

    def is_connected(self) -> bool:
        return True

    async def close(self, grace_s: float | None = None) -> None:
        """There is nothing to close."""


def ones(spec: TensorSpec, rows: int) -> Array:
    assert spec.shape
    return np.ones([rows, *(size or 1 for size in spec.shape[1:])], spec.dtype)


class Request:
    """granian's scope and protocol of one request."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.method, self.path, _ = first.split(" ")
        self.query_string, self.client, self.server, self.scheme = "", "127.0.0.1:50000", "127.0.0.1:8080", "http"
        pairs = [line.partition(": ")[::2] for line in lines]
        self.headers = RequestHeaders({name.lower(): value for name, value in pairs})
        self.status = 0

    async def __call__(self) -> bytes:
        return self.body

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        del headers, body
        self.status = status


class RequestHeaders(dict[str, str]):
    """Of a request; each is there once."""

    def get_all(self, name: str) -> list[str]:
        return [self[name]] if name in self else []


def build(settings: GatewaySettings) -> RsgiApp:
    """As ``wsgi.create_app`` and ``lifecycle`` do, with nothing behind the fast path."""
    metrics, loop, ledger = Metrics(), EventLoop(asyncio.get_running_loop()), Ledger(settings.ledger)
    pools = Pools({DEFAULT_POOL: Replicas([InstantReplica(Store(settings.store))], metrics)})
    limits = RateLimits(settings, SharedBuckets(settings.broker))
    predictions = Predictions(Predictor(settings, metrics, loop, ledger, pools), settings, limits)
    fast_path = FastPath(predictions, metrics).respond
    return RsgiApp(lambda *_: (), settings, loop, fast_path, metrics, limits)


async def answer_all(app: RsgiApp, requests: Iterator[Request], callers: int) -> int:
    """Each caller sends its next request once the last one was answered, until there are no more."""
    statuses: list[int] = []

    async def call() -> None:
        for request in requests:
            await asyncio.create_task(app.__rsgi__(request, request))
            statuses.append(request.status)

    await asyncio.gather(*(call() for _ in range(callers)))
    if set(statuses) != {200}:
        raise SystemExit(f"expected 200 alone, received {sorted(set(statuses))}")
    return len(statuses)


async def measure(settings: GatewaySettings, workloads: dict[str, Workload], count: int, *, profile: bool) -> None:
    app = build(settings)
    tune_gc()
    for name, workload in workloads.items():
        raw = workload.requests(OURS, settings.port)
        for callers in CALLERS:
            took_us = []
            profiler = cProfile.Profile()
            for turn in range(TURNS + 1):
                requests = [Request(raw[number % len(raw)]) for number in range(count)]
                if profile and turn:
                    profiler.enable()
                began = time.process_time()
                await answer_all(app, iter(requests), callers)
                took_us.append((time.process_time() - began) / count * 1e6)
                profiler.disable()
            least, middle = min(took_us[1:]), statistics.median(took_us[1:])  # the first one warms up
            print(f"{name:12} {callers:3} callers: {least:6.1f} us an answer at best, {middle:6.1f} mostly", flush=True)
            if profile:
                pstats.Stats(profiler).sort_stats("tottime").print_stats(SHOWN)


def main(
    store: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the models.")],
    count: Annotated[int, typer.Option(min=1, help="Answers in each of 20 turns.")] = 256,
    profile: Annotated[bool, typer.Option(help="Show where the time goes; the profiler doubles it.")] = False,
) -> None:
    """Measure, and print."""
    logs.configure("gateway")
    with tempfile.TemporaryDirectory(prefix="hot-path-") as work:
        settings = GatewaySettings(store=store.resolve(), ledger=f"sqlite:///{work}/ledger.db")
        uvloop.run(measure(settings, load_all(store), count, profile=profile))


if __name__ == "__main__":
    typer.run(main)
