"""What a call to the model server costs: ``python -m benchmarks.modelserver [--seconds 2] [--server FLAG ...]``.

Three models of the kinds that we train are made, served by ``services.modelserver``, and called over gRPC from another
process, in a closed loop: 1, 8, 32 and 64 rows to a call, 1, 2 and 4 calls in flight. Printed for each: calls per
second, p50 and p99 in ms, the server's processor time for each call in ms; before them the time until the server is
ready, and its share of memory (PSS). Then the same while versions are swapped once a second. Every answer is checked.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from modelyard.models.tfserving.client import ServingClient
from modelyard.models.tfserving.messages import ServingFailed, fill_proto, from_proto, predict_pb2
from modelyard.models.tfserving.messages import prediction_service_pb2_grpc as stubs
from modelyard.models.types import Array

ROWS, IN_FLIGHT = (1, 8, 32, 64), (1, 2, 4)
MODELS = ("tiny", "cnn", "lstm")
REVIEW = ("one of the best films i have seen in years although the plot is thin and the end drags on " * 10).encode()


@dataclass(frozen=True)
class Measured:
    """One closed loop. Times in ms."""

    model: str
    rows: int
    in_flight: int
    calls_per_s: float
    p50: float
    p99: float
    cpu: float
    wrong: int


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.modelserver", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2, help="length of each measurement")
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--rows", nargs="*", type=int, default=ROWS)
    parser.add_argument("--in-flight", nargs="*", type=int, default=IN_FLIGHT)
    parser.add_argument("--store", type=Path, help="keeps the models that are made")
    parser.add_argument("--program", default="modelyard.services.modelserver", help="module to run as the server")
    parser.add_argument("--swaps", type=int, default=5, help="version swaps under load; 0 leaves them out")
    parser.add_argument("--unix", action="store_true", help="call over a unix-domain socket")
    parser.add_argument("--server", nargs=argparse.REMAINDER, default=[], help="further flags of the server")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        store = make_models(options.store or Path(folder))
        with run_server(store, options) as (address, process, ready_s):
            print(f"ready in {ready_s:.2f} s, PSS {process.memory_full_info().pss / 2**20:.0f} MiB")
            print("| model | rows | in flight | calls/s | p50 ms | p99 ms | CPU-ms/call | wrong |")
            print("|---|---|---|---|---|---|---|---|")
            for model in options.models:
                for rows in options.rows:
                    for in_flight in options.in_flight:
                        print_result(measure(address, process, model, rows, in_flight, options.seconds))
            print(f"PSS afterwards {process.memory_full_info().pss / 2**20:.0f} MiB")
            for model in options.models if options.swaps else ():
                swap_under_load(store, address, process, model, options.swaps)


def print_result(found: Measured, note: str = "") -> None:
    print(
        f"| {found.model}{note} | {found.rows} | {found.in_flight} | {found.calls_per_s:.0f} | {found.p50:.2f} | "
        f"{found.p99:.2f} | {found.cpu:.3f} | {found.wrong} |",
        flush=True,
    )


# --- models -----------------------------------------------------------------------------------------------------------


def make_models(store: Path) -> Path:
    """Version 1 of each model, unless they are there; TensorFlow is left to another process."""
    if not all((store / model / "1").exists() for model in MODELS):
        subprocess.run([sys.executable, "-m", "benchmarks.modelserver.models", str(store)], check=True)
    for model in MODELS:
        for other in (store / model).glob("[2-9]*"):
            shutil.rmtree(other)
    entries = " ".join(
        f'config {{ name: "{model}" base_path: "{store / model}" model_platform: "tensorflow" }}' for model in MODELS
    )
    (store / "models.config").write_text(f"model_config_list {{ {entries} }}")
    return store


def make_inputs(model: str, rows: int) -> Array:
    """``float32 [rows,3]``, ``uint8 [rows,28,28,1]`` or reviews of 190 words, ``[rows]``."""
    if model == "tiny":
        return np.ones((rows, 3), np.float32)
    if model == "cnn":
        return np.random.default_rng(0).integers(0, 256, (rows, 28, 28, 1)).astype(np.uint8)
    return np.array([REVIEW] * rows, dtype=object)


# --- server -----------------------------------------------------------------------------------------------------------


@contextmanager
def run_server(store: Path, options: argparse.Namespace) -> Iterator[tuple[str, psutil.Process, float]]:
    """Address, process and seconds to readiness of a server of these models."""
    port, path = 18500, store / "grpc.sock"
    flags = [f"--port={port}", f"--model_config_file={store / 'models.config'}", *options.server]
    flags += [f"--grpc_socket_path={path}"] if options.unix else []
    began = time.perf_counter()
    with (store / "server.log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", options.program, *flags], stderr=log, stdout=log)
    address = f"unix:{path}" if options.unix else f"127.0.0.1:{port}"
    try:
        for model in MODELS:
            wait_for_version(address, model, 1)
        yield address, psutil.Process(server.pid), time.perf_counter() - began
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def wait_for_version(address: str, model: str, version: int, within_s: float = 60) -> None:
    """Waits until a version is AVAILABLE."""
    client = ServingClient(address)
    give_up = time.monotonic() + within_s
    while True:
        try:
            if client.status(model, 5, version)[0].state == "AVAILABLE":
                client.close()
                return
        except ServingFailed as error:
            if time.monotonic() > give_up:
                raise SystemExit(f"{model}/{version} is not served: {error}") from error
        time.sleep(0.02)


# --- load -------------------------------------------------------------------------------------------------------------


def measure(address: str, process: psutil.Process, model: str, rows: int, in_flight: int, seconds: float) -> Measured:
    """A closed loop from a process of its own."""
    before = sum(process.cpu_times()[:2])
    command = [sys.executable, "-m", "benchmarks.modelserver", "load", address, model, str(rows), str(in_flight)]
    ended = subprocess.run([*command, str(seconds)], capture_output=True, text=True, check=True)
    calls = json.loads(ended.stdout)
    cpu_s = sum(process.cpu_times()[:2]) - before
    times = np.array(calls["times_s"]) * 1000
    p50, p99 = np.percentile(times, [50, 99])
    return Measured(
        *(model, rows, in_flight, len(times) / calls["wall_s"], float(p50), float(p99)),
        *(cpu_s * 1000 / calls["all"], calls["wrong"]),
    )


def run_load(address: str, model: str, rows: int, in_flight: int, seconds: float) -> dict[str, Any]:
    """Calls from ``in_flight`` threads for ``seconds``, after a few to warm up. Answers must not change."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    fill_proto(request.inputs["x"], make_inputs(model, rows))
    with grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        predict = stubs.PredictionServiceStub(channel).Predict
        expected = from_proto(predict(request, timeout=30).outputs["y"])
        times: list[float] = []
        wrong: list[int] = []
        stop = time.perf_counter() + 0.3 + seconds

        def ask() -> None:
            while (began := time.perf_counter()) < stop:
                answer = predict(request, timeout=30)
                times.append(time.perf_counter() - began)
                if not np.allclose(from_proto(answer.outputs["y"]), expected, atol=1e-4):
                    wrong.append(answer.model_spec.version.value)

        threads = [threading.Thread(target=ask) for _ in range(in_flight)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall_s = time.perf_counter() - began
    return {"times_s": times, "wall_s": wall_s, "all": len(times) + 1, "wrong": len(wrong)}


def swap_under_load(store: Path, address: str, process: psutil.Process, model: str, swaps: int) -> None:
    """Publishes a copy of version 1 each second under load of one row and two calls in flight."""
    print_result(measure(address, process, model, 1, 2, swaps), ", steady")
    stopping = threading.Event()

    def publish() -> None:
        for version in range(2, 2 + swaps):
            if stopping.wait(1):
                return
            staged = store / model / ".staged"
            shutil.copytree(store / model / "1", staged)
            staged.rename(store / model / str(version))

    publisher = threading.Thread(target=publish)
    publisher.start()
    print_result(measure(address, process, model, 1, 2, swaps + 1), f", {swaps} swaps")
    stopping.set()
    publisher.join()
    wait_for_version(address, model, 1 + swaps)


if __name__ == "__main__":
    if sys.argv[1:2] == ["load"]:
        print(json.dumps(run_load(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]))))
    else:
        main(sys.argv[1:])
