"""The graphs alone: ``python -m benchmarks.bounds.graphs STORE SECONDS < workloads.json > rows.json``.

In a process of its own, loaded as they are served (session, rewrites, memory pools), called as the gateway's process
calls them: arrays in, arrays out, without HTTP. No server that has these graphs on these cores can be faster.
"""

import ctypes
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.answers import TOLERANCE
from benchmarks.serving.peers.loaded import newest
from benchmarks.serving.roster import ROOT
from benchmarks.serving.workload import KINDS, Workload
from modelyard.models.types import Array
from modelyard.services.modelserver.inference.predict import run_signature
from modelyard.services.modelserver.lifecycle.loader import start_runtime
from modelyard.services.modelserver.runtime.arrays import make_array, make_tensor
from modelyard.services.modelserver.runtime.saved_model import load_saved_model
from modelyard.services.modelserver.runtime.servable import RequestOptions, Servable, never_cancelled

ROWS = (1, 8, 16, 32, 64)
CALLS = (1, 2)
SIGNATURES = {"mnist_json": "serving_default", "mnist_png": "image_bytes", "sentiment": "serving_default"}
M_ARENA_MAX, ARENAS = -8, 3
"""As ``services/gateway/__main__.py`` has it, for one process with a model server inside."""
MIN_CALLS = 3
"""Before the clock runs, for each size."""

Row = dict[str, Any]
Call = Callable[[], dict[str, Array]]


def measure(store: Path, workloads: Mapping[str, Workload], seconds: float) -> list[Row]:
    """One row for each workload, number of rows in a call and number of calls at once; in another process."""
    asked = {
        name: {"inputs": each.inputs, "expected": [row.probabilities for row in each.expected]}
        for name, each in workloads.items()
    }
    command = [sys.executable, "-m", "benchmarks.bounds.graphs", str(store), str(seconds)]
    done = subprocess.run(command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    rows: list[Row] = json.loads(done.stdout)
    return rows


def run_all(store: Path, asked: Mapping[str, Any], seconds: float) -> list[Row]:
    """All rows, in this process. Ends it if an answer is wrong."""
    limit_memory_arenas()
    runtime = start_runtime(0, 0)
    servables = {model: load_saved_model(runtime, newest(store, model)) for model in {kind.model for kind in KINDS}}
    found = []
    for kind in KINDS:
        inputs, expected = asked[kind.name]["inputs"], np.array(asked[kind.name]["expected"])
        for rows in ROWS:
            call = make_call(servables[kind.model], SIGNATURES[kind.name], make_batch(kind.name, inputs, rows))
            check(kind.name, call()["probabilities"], np.resize(expected, (rows, expected.shape[1])))
            for calls in CALLS:
                measured = measure_calls(call, calls, seconds)
                found.append({"row": "graph", "workload": kind.name, "rows": rows} | per_row(measured, rows))
    return found


def limit_memory_arenas() -> None:
    """As the gateway's process with a model server inside; where glibc is."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(M_ARENA_MAX, ARENAS)


def make_batch(workload: str, inputs: Sequence[Any], rows: int) -> Array:
    """So many inputs in turn: images as float32 [rows, 28, 28, 1], files and texts as bytes [rows]."""
    chosen = [inputs[number % len(inputs)] for number in range(rows)]
    if workload == "mnist_json":
        return np.array(chosen, np.float32)
    texts = np.empty(rows, dtype=object)
    texts[:] = [read_bytes(workload, each) for each in chosen]
    return texts


def read_bytes(workload: str, given: str) -> bytes:
    import base64

    return base64.b64decode(given) if workload == "mnist_png" else given.encode()


def make_call(servable: Servable, signature: str, batch: Array) -> Call:
    """What ``EmbeddedServer.predict`` does with a version that it has found."""
    (alias,) = servable.signatures[signature].inputs

    def call() -> dict[str, Array]:
        sent = {alias: batch}
        tensors = run_signature(servable, signature, sent, make_tensor, (), RequestOptions(), never_cancelled)
        arrays = {name: make_array(tensor) for name, tensor in tensors.items()}
        return {name: array for name, array in arrays.items() if array is not None}

    return call


def check(workload: str, found: Array, expected: Array) -> None:
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=TOLERANCE):
        raise SystemExit(f"{workload}: the graph gave other probabilities to {len(expected)} rows than to each alone")


def measure_calls(call: Call, calls: int, seconds: float) -> Row:
    """So many threads, each of which calls again as soon as it was answered."""
    took_s: list[float] = []

    def work(until: float) -> None:
        while (began := time.perf_counter()) < until:
            call()
            took_s.append(time.perf_counter() - began)

    for _ in range(MIN_CALLS):
        call()
    cpu_s, began = time.process_time(), time.perf_counter()
    threads = [threading.Thread(target=work, args=(began + seconds,)) for _ in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    times = {"call_ms": statistics.median(took_s) * 1000, "cpu_ms": cpu_s * 1000 / len(took_s)}
    return {"calls": calls, "per_s": len(took_s) / wall_s} | times


def per_row(measured: Row, rows: int) -> Row:
    return measured | {"per_s": measured["per_s"] * rows, "cpu_ms": measured["cpu_ms"] / rows}


if __name__ == "__main__":
    print(json.dumps(run_all(Path(sys.argv[1]), json.load(sys.stdin), float(sys.argv[2]))))
