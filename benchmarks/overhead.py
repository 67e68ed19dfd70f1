"""What the gateway adds to the model server: the same inputs through HTTP and straight over gRPC, in turns.

    python -m benchmarks.overhead --store .bench/store

One image as JSON and as a tensor over gRPC: the difference of the medians is the gateway's own cost. Sixty-four images
in the Open Inference Protocol's binary form and over gRPC: the ratio of the rates is what is left of the model server's
speed. Both take turns of a second, so that the machine's moods hit both alike.
"""

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.serving import measure, ours, processes
from benchmarks.serving.processes import running
from modelyard.models.tfserving.client import ServingClient
from modelyard.models.types import Array

MODEL, SIGNATURE, INPUT, VERSION = "mnist_cnn", "serving_default", "images", 1
BATCH = 64
TURNS = 6
TURN_S = 1.0
RESULTS = Path(__file__).parent / "results" / "overhead.jsonl"
Ask = Callable[[], None]
Connect = Callable[[], Ask]
"""Opens a connection, and returns what sends one request on it."""


def images(count: int) -> Array:
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28, 1)).astype(np.float32)


def over_grpc(address: str, batch: Array) -> Connect:
    def connect() -> Ask:
        client = ServingClient(address)
        return lambda: _count(client.predict(MODEL, VERSION, SIGNATURE, {INPUT: batch}, 30.0), len(batch))

    return connect


def _count(outputs: dict[str, Array], rows: int) -> None:
    if any(len(array) != rows for array in outputs.values()):
        raise SystemExit("the model server answered with other rows than it was asked for")


def over_http(port: int, path: str, body: bytes, headers: dict[str, str]) -> Connect:
    def connect() -> Ask:
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def ask() -> None:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != http.client.OK:
                raise SystemExit(content.decode(errors="replace"))

        return ask

    return connect


def json_body(batch: Array) -> bytes:
    return json.dumps({"instances": batch.tolist()}).encode()


def binary_body(batch: Array) -> tuple[bytes, dict[str, str]]:
    """V2 with the binary tensor extension, in both directions."""
    content = batch.tobytes()
    size = {"binary_data_size": len(content)}
    tensor = {"name": INPUT, "shape": list(batch.shape), "datatype": "FP32", "parameters": size}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + content, {"Inference-Header-Content-Length": str(len(head))}


def in_turns(
    ways: dict[str, Connect], connections: int, turns: int = TURNS, turn_s: float = TURN_S
) -> dict[str, list[float]]:
    """Milliseconds of every call, by way."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    asks = {name: [connect() for _ in range(connections)] for name, connect in ways.items()}
    for turn in range(turns + 1):
        for name in ways:
            found = one_turn(asks[name], turn_s)
            if turn:  # the first one warms up
                took[name] += found
    return took


def one_turn(asks: list[Ask], turn_s: float) -> list[float]:
    took: list[float] = []

    def work(ask: Ask) -> None:
        until = time.perf_counter() + turn_s
        while (started := time.perf_counter()) < until:
            ask()
            took.append((time.perf_counter() - started) * 1000)

    threads = [threading.Thread(target=work, args=(ask,)) for ask in asks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def figures(port: int) -> dict[str, Any]:
    one, many = images(1), images(BATCH)
    grpc = f"127.0.0.1:{port + 1}"
    single = in_turns(
        {"grpc": over_grpc(grpc, one), "http": over_http(port, f"/v1/models/{MODEL}:predict", json_body(one), {})}, 1
    )
    p50 = {name: float(np.percentile(values, 50)) for name, values in single.items()}
    found: dict[str, Any] = {"one_image_p50_ms": p50, "added_p50_ms": p50["http"] - p50["grpc"]}
    body, headers = binary_body(many)
    for connections in (1, 4):
        ways = {"grpc": over_grpc(grpc, many), "v2": over_http(port, f"/v2/models/{MODEL}/infer", body, headers)}
        calls = {name: len(values) for name, values in in_turns(ways, connections).items()}
        found[f"binary_batch_share_{connections}"] = calls["v2"] / calls["grpc"]
        found[f"binary_batch_per_s_{connections}"] = {name: count / (TURNS * TURN_S) for name, count in calls.items()}
    return found


def main(store: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the models.")]) -> None:
    """Measure, print, and append to the trend."""
    processes.adopt_orphans()
    port = measure.free_port()
    with tempfile.TemporaryDirectory(prefix="mo-", ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        with running(ours.commands(port, store.resolve(), work), work / "log"):
            wait_up(port)
            found = figures(port)
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **found}
    with RESULTS.open("a") as results:
        results.write(json.dumps(line) + "\n")
    print(json.dumps(line, indent=1))


def wait_up(port: int) -> None:
    ask = over_http(port, f"/v1/models/{MODEL}:predict", json_body(images(1)), {})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            ask()()
        except (OSError, SystemExit):
            time.sleep(0.1)
        else:
            return
    raise SystemExit("modelyard serve did not come up")


if __name__ == "__main__":
    typer.run(main)
