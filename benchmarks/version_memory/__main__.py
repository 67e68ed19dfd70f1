"""What versions take in a model server, beside what ``MODELYARD_POOL_MEMORY`` reckons with.

    python -m benchmarks.version_memory .bench/store/mnist_cnn/1 …

For each version a model server of ours is started with another one, of x/2 + N, that has paid for the libraries. Then
it loads the version, and replays its warm-up requests; and once more under a second and a third name. What the process
grew by each time (proportional set size, smaps_rollup in proc(5)) is beside the estimate: the first time has what all
models of a kind share, such as kernels and threads.
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

from benchmarks.served import free_ports, make_versions
from benchmarks.serving import processes
from benchmarks.serving.processes import Command
from modelyard.models.registry.pools.size import MB, estimate_memory, measure_size
from modelyard.models.tfserving.client import ServingClient
from modelyard.models.tfserving.messages import ServingFailed

FIRST = "half_plus"
LOADED_S = 300.0
SETTLED_S, BUSY_S = 4.0, 0.2
"""Quiet is who uses no more processor time than that in so many seconds."""
COPIES = 3
ENTRY = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }}\n'


def measure(folder: Path, first: Path) -> list[int]:
    """Megabytes by which a server grew for a version, and for it again under further names."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as name:
        config, entries = Path(name) / "models.config", [ENTRY.format(FIRST, first)]
        config.write_text(render(entries))
        flags = [f"--port={port}", f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1"]
        command = Command([sys.executable, "-m", "modelyard.services.modelserver", *flags], {})
        with processes.running([command], Path(name) / "log"), closing(ServingClient(f"127.0.0.1:{port}")) as client:
            await_loaded(client, FIRST)
            taken = [read_memory()]
            for number in range(COPIES):
                entries.append(ENTRY.format(f"copy_{number}", folder.parent.resolve()))
                config.write_text(render(entries))
                await_loaded(client, f"copy_{number}")
                taken.append(read_memory())
    return [round((after - before) * 1e6 / MB) for before, after in pairwise(taken)]


def render(entries: list[str]) -> str:
    return f"model_config_list {{\n{''.join(entries)}}}\n"


def read_memory() -> float:
    """Of all processes of the server, in units of 10^6 bytes, once it is quiet: it warms up after the load, too."""
    before = -BUSY_S
    while (now := sum(processes.cpu_s(os.getpid()).values())) - before > BUSY_S:
        before = now
        time.sleep(SETTLED_S)
    return sum(each.pss_mb for each in processes.memory(os.getpid()))


def await_loaded(client: ServingClient, model: str) -> None:
    deadline = time.monotonic() + LOADED_S
    while time.monotonic() < deadline:
        with suppress(ServingFailed):
            if any(each.state == "AVAILABLE" for each in client.status(model, timeout_s=5)):
                return
        time.sleep(0.1)
    raise SystemExit(f"{model} was not loaded")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.version_memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("version", nargs="+", type=Path, help="Folder of a version.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        first = Path(name) / FIRST
        make_versions(first, 1)
        print("| version | parameters | graph | assets | estimate | grew by |\n|---|---|---|---|---|---|")
        for folder in asked.version:
            size = measure_size(folder)
            parts = " | ".join(f"{each / MB:.1f}" for each in (size.parameters, size.graph, size.assets))
            grew = ", ".join(map(str, measure(folder, first)))
            print(f"| {folder.parent.name} | {parts} | {estimate_memory(size)} | {grew} |", flush=True)


if __name__ == "__main__":
    main()
