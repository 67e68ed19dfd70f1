"""Which HTTP server stands in front of the gateway's Flask application: the measurement behind decision 0011.

    uv run --with 'gunicorn>=26' python -m benchmarks.http_server --store .bench/store

One model server, then one gateway after the other: gunicorn's threads, granian's threads, our RSGI app with the view
only (``?labels=false`` sends a request there), and our RSGI app with its fast path. Responses are checked as in
``benchmarks.serving``, and only right ones count.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.serving import measure, processes
from benchmarks.serving.measure import Effort, Row
from benchmarks.serving.processes import Command
from benchmarks.serving.roster import Contender, Start
from benchmarks.serving.workload import load_all

PATH = "/v1/models/{model}:predict"
GUNICORN = ("gunicorn", "--bind=127.0.0.1:{port}", "--worker-class=gthread", "--workers=1", "--no-control-socket")
GRANIAN = ("granian", "--interface=wsgi", "--port={port}", "--workers=1", "--no-ws", "--factory")
APPLICATION = "modelyard.services.gateway.wsgi:create_app"


def gateway(*arguments: str) -> Start:
    """Model server on a socket, and a gateway in front of it."""

    def start(port: int, store: Path, work: Path) -> list[Command]:
        socket = work / "serving.sock"
        server = [
            *(
                sys.executable,
                "-m",
                "modelyard.services.modelserver",
                f"--port={port + 1}",
                f"--grpc_socket_path={socket}",
            ),
            f"--model_config_file={store / 'models.config'}",
        ]
        settings = {
            "MODELYARD_PORT": str(port),
            "MODELYARD_STORE": str(store),
            "MODELYARD_SERVING": f"unix:{socket}",
            "MODELYARD_LOG_LEVEL": "warning",
        }
        filled = [argument.format(port=port) for argument in arguments]
        return [Command(server, {"TF_CPP_MIN_LOG_LEVEL": "2"}), Command([sys.executable, "-m", *filled], settings)]

    return start


def contender(name: str, start: Start, path: str = PATH) -> Contender:
    return Contender(name=name, title=name, how="", start=start, path=path, kind="ours")


CONTENDERS = (
    contender("gunicorn gthread, 32 threads", gateway(*GUNICORN, "--threads=32", f"{APPLICATION}()")),
    contender("granian WSGI, 64 threads", gateway(*GRANIAN, "--blocking-threads=64", APPLICATION)),
    contender("greenlets, the view only", gateway("modelyard.services.gateway"), f"{PATH}?labels=false"),
    contender("greenlets and the fast path", gateway("modelyard.services.gateway")),
)


def rows(store: Path, effort: Effort, workload: str) -> Iterator[tuple[Contender, Row]]:
    workloads = load_all(store)
    for each in CONTENDERS:
        for row in measure.contender_rows(each, [workloads[workload]], [workloads[workload]], store, effort):
            if row["row"] == "load":
                yield each, row


def main(
    store: Annotated[Path, typer.Option(exists=True, file_okay=False, help="A store with rollouts.")],
    workload: Annotated[str, typer.Option(help="mnist_json or sentiment.")] = "mnist_json",
    connections: Annotated[list[int] | None, typer.Option(help="May be repeated.")] = None,
    seconds: Annotated[float, typer.Option(help="Measured per point.")] = 5.0,
) -> None:
    """Measure, and print a table in Markdown."""
    processes.adopt_orphans()
    effort = Effort(tuple(connections or (1, 32, 64)), (), seconds, 1.0, starts=1)
    print("| gateway | connections | right answers/s | p50 ms | p99 ms | CPU-ms each | bad |")
    print("|---|---|---|---|---|---|---|")
    for each, row in rows(store.resolve(), effort, workload):
        p50, p99, cpu = row["p50_ms"] or 0.0, row["p99_ms"] or 0.0, row.get("cpu_ms", 0.0)
        bad = row["errors"] + row["wrong"]
        print(
            f"| {each.title} | {row['connections']} | {row['rps']:.0f} | {p50:.1f} | {p99:.1f} | {cpu:.2f} | {bad} |",
            flush=True,
        )


if __name__ == "__main__":
    typer.run(main)
