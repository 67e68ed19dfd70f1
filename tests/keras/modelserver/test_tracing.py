"""Spans of a model server: of each call, its wait for a batch, and its run. The graphs are stand-ins."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelyard.services.modelserver.batching.batch_queue import BatchThreads
from modelyard.services.modelserver.batching.batched_run import add_batching
from modelyard.services.modelserver.batching.parameters import BatchingParameters
from modelyard.services.modelserver.lifecycle.reconciler import Load
from modelyard.services.modelserver.runtime.traced_run import trace_runs
from modelyard.services.modelserver.server import ModelServer
from modelyard.services.modelserver.settings import Settings
from modelyard.services.tracing.spans import Kind, RecordedSpan, Tracing
from tests.support.modelserver import Blocking, Served, Store, X, eventually, request

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
PARENT = f"00-{TRACE:032x}-{SPAN:016x}-01"
METHOD = "tensorflow.serving.PredictionService/Predict"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Its versions are empty: nobody reads them."""
    return Store(tmp_path / "store", {})


class TracedLoader:
    """Stand-ins as the real loader would hand them over, with batches or without."""

    def __init__(self, blocking: Blocking, *, batches: bool) -> None:
        self._blocking, self._batches = blocking, batches

    def __call__(self, settings: Settings) -> Load:
        load, parameters = self._blocking(settings), BatchingParameters()
        threads = BatchThreads(parameters)

        def load_traced(folder: Path) -> Any:
            servable = trace_runs(load(folder))
            return add_batching(servable, parameters, threads) if self._batches else servable

        return load_traced


@contextmanager
def serving(store: Store, said: list[RecordedSpan], *, batches: bool = False, share: float = 1.0) -> Iterator[Served]:
    for version in (1, 2):
        (store.root / "m" / str(version)).mkdir(parents=True)
    store.configure(store.entry("m", "all {}"))
    blocking = Blocking()
    blocking.go.set()
    server = ModelServer(
        Settings(port=0, model_config_file=store.config),
        on_failure=threading.Event().set,
        start_loader=TracedLoader(blocking, batches=batches),
        tracing=Tracing(share, said.append, lambda: None),
    )
    served = Served(f"127.0.0.1:{server.start()}", store)
    try:
        eventually(served.is_serving, "ready")
        yield served
    finally:
        served.client.close()
        server.stop(grace_s=0).wait(60)


def call(served: Served, *metadata: tuple[str, str], **asked: Any) -> Any:
    return served.prediction.Predict(request(**{"x": X, "version": 2, **asked}), timeout=60, metadata=metadata)


@pytest.mark.parametrize("batches", [False, True], ids=["alone", "batched"])
def test_a_call_is_a_child_of_its_caller_and_has_its_wait_and_its_run(
    store: Store,
    batches: bool,  # a parameter
) -> None:
    said: list[RecordedSpan] = []
    with serving(store, said, batches=batches) as served:
        call(served, ("traceparent", PARENT), ("tracestate", "vendor=a"))
        eventually(lambda: any(span.kind is Kind.SERVER for span in said), "the call")
    server, run = (next(span for span in said if span.name == name) for name in (METHOD, "run"))
    assert server.parent
    assert (server.parent.span_id, server.context.trace_id, server.context.state) == (SPAN, TRACE, "vendor=a")
    assert run.parent == server.context
    assert server.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD,
        "rpc.response.status_code": "OK",
        "modelyard.model": "m",
    }
    waits = [span for span in said if span.name == "wait for the batch"]
    assert len(waits) == batches
    assert all(wait.parent == server.context and wait.ended_ns <= run.began_ns for wait in waits)
    assert len(said) == 2 + batches
    assert not any(span.failed for span in said)


def test_calls_that_share_a_run_say_how_many(store: Store) -> None:
    """A run each, at the same time."""
    said: list[RecordedSpan] = []
    with serving(store, said, batches=True) as served, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: call(served, ("traceparent", f"00-{number:032x}-{SPAN:016x}-01")), range(1, 9)))
        eventually(lambda: sum(span.name == METHOD for span in said) == 8, "calls")
    runs = [span for span in said if span.name == "run"]
    assert len(runs) == 8
    for run in runs:
        together = [other for other in runs if (other.began_ns, other.ended_ns) == (run.began_ns, run.ended_ns)]
        assert len(together) == run.attributes["modelyard.batch.calls"]


def test_a_refused_call_has_its_code(store: Store) -> None:
    said: list[RecordedSpan] = []
    with serving(store, said) as served:
        with pytest.raises(grpc.RpcError):
            call(served, model="unknown")
        eventually(lambda: said, "the call")
    assert [(span.attributes["rpc.response.status_code"], span.failed) for span in said] == [("NOT_FOUND", True)]


@pytest.mark.parametrize(
    ("metadata", "recorded"),
    [
        ((), 0),
        ((("traceparent", "00-nonsense"),), 0),
        ((("traceparent", f"{PARENT[:-1]}0"),), 0),
        ((("traceparent", PARENT),), 2),
    ],
)
def test_only_what_a_caller_records_is_recorded_where_our_share_is_none(
    store: Store, metadata: tuple[tuple[str, str], ...], recorded: int
) -> None:
    """Callers that are malformed are none."""
    said: list[RecordedSpan] = []
    with serving(store, said, share=0.0) as served:
        call(served, *metadata)
        eventually(lambda: len(said) >= recorded, "spans")
    assert len(said) == recorded


IMPORTING = """
import sys
import modelyard.services.modelserver.__main__, modelyard.services.modelserver.embedded
from modelyard.services.tracing.otlp import open_tracing
from modelyard.services.tracing.settings import TracingSettings

assert open_tracing(TracingSettings.load(), "modelserver") is None
print("opentelemetry" in sys.modules)
"""


def test_nothing_of_opentelemetry_is_imported_while_traces_are_off() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTING], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
