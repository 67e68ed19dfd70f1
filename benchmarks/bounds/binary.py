"""Sixty-four images in V2's binary form: HTTP's part of it, without a model, beside a direct gRPC call with one."""

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.bounds.servers import running_gateway
from benchmarks.overhead import BATCH, MODEL, binary_body, images, in_turns, over_grpc, over_http
from benchmarks.serving import measure as measuring
from benchmarks.serving import processes
from benchmarks.serving.processes import Command
from benchmarks.version_memory.__main__ import await_loaded
from modelyard.models.tfserving.client import ServingClient

CLIENTS = (1, 4)
TURNS = 3

Row = dict[str, Any]


def measure(store: Path, seconds: float) -> Iterator[Row]:
    """Median of a call in ms and calls per second, of each way, by turns; one row for each number of clients."""
    batch = images(BATCH)
    body, headers = binary_body(batch)
    with running_gateway(store) as port, running_model_server(store) as address:
        ways = {"grpc": over_grpc(address, batch), "http": over_http(port, f"/v2/models/{MODEL}/infer", body, headers)}
        for clients in CLIENTS:
            turn_s = seconds / TURNS
            took = in_turns(ways, clients, TURNS, turn_s)
            per_s = {name: len(times) / (TURNS * turn_s) for name, times in took.items()}
            call_ms = {name: statistics.median(times) for name, times in took.items()}
            yield {"row": "binary", "clients": clients, "call_ms": call_ms, "per_s": per_s}


@contextmanager
def running_model_server(store: Path) -> Iterator[str]:
    """The address of a model server of ours that has the model of images."""
    port = measuring.free_port()
    flags = [f"--port={port}", f"--model_name={MODEL}", f"--model_base_path={(store / MODEL).resolve()}"]
    command = Command([sys.executable, "-m", "modelyard.services.modelserver", *flags], {"TF_CPP_MIN_LOG_LEVEL": "2"})
    with (
        tempfile.TemporaryDirectory(prefix="mo-", ignore_cleanup_errors=True) as folder,
        processes.running([command], Path(folder) / "log"),
        closing(ServingClient(f"127.0.0.1:{port}")) as client,
    ):
        await_loaded(client, MODEL)
        yield f"127.0.0.1:{port}"
