"""Who is compared: how each is started, which requests it takes, and the choices its documentation left to us."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.serving import ours
from benchmarks.serving.peers.loaded import STORE
from benchmarks.serving.processes import Command

ROOT = Path(__file__).parent.parent.parent
PEERS = Path(__file__).parent / "peers"
ENVIRONMENTS = ROOT / ".bench"
PACKAGE = "benchmarks.serving.peers"
CORES = os.cpu_count() or 1

Start = Callable[[int, Path, Path], list[Command]]
"""From port, store and a folder to write to, to the processes."""


@dataclass(frozen=True)
class Contender:
    """One row of the tables."""

    name: str
    title: str
    how: str
    """Configuration in words, for the page."""
    start: Start
    body: str = "instances"
    """``instances`` or ``v2``: the JSON that it takes."""
    form: str = "predictions"
    """A key of ``answers.READ``."""
    path: str = "/{model}"
    folder: str | None = None
    """Folder below ``peers/`` with its requirements; None is ours."""
    kind: str = "documented"
    """``ours``; ``documented``: as its documentation advises; ``frozen``: with its collector frozen by hand."""
    versions: tuple[str, ...] = field(default=())
    """Distributions whose versions are reported."""


def peer(folder: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Start:
    """Starts one command of a peer's environment; ``{port}`` and ``{work}`` are filled in."""

    def start(port: int, store: Path, work: Path) -> list[Command]:
        binaries = ENVIRONMENTS / folder / "bin"
        filled = [argument.format(port=port, work=work) for argument in arguments]
        variables = {
            STORE: str(store.resolve()),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "HOME": str(work),
        }
        extra = {name: value.format(port=port, work=work) for name, value in (environment or {}).items()}
        return [Command([str(binaries / filled[0]), *filled[1:]], variables | extra)]

    return start


OURS = Contender(
    name="modelyard",
    title="**Modelyard**",
    how="`modelyard serve --isolated`: gateway, model server, and what watches them",
    start=ours.commands,
    path="/v1/models/{model}:predict",
    kind="ours",
)
ONE_PROCESS = replace(
    OURS,
    name="modelyard-one",
    title="Modelyard, one process",
    how="`modelyard serve` with its defaults: the model server inside the gateway's process",
    start=ours.commands_one_process,
)

GUNICORN = ("gunicorn", "--bind=127.0.0.1:{port}", "--timeout=120", "--control-socket={work}/gunicorn.ctl")
UVICORN = ("uvicorn", f"{PACKAGE}.fastapi.server:app", "--port={port}", "--no-access-log")
MOSEC = ("python", "-m", f"{PACKAGE}.mosec.server", "--address", "127.0.0.1", "--port", "{port}")

CONTENDERS = (
    OURS,
    ONE_PROCESS,
    Contender(
        name="flask",
        title="Flask, gunicorn",
        how=f"model in the process; {CORES} workers x 4 threads",
        start=peer("flask", *GUNICORN, f"--workers={CORES}", "--threads=4", f"{PACKAGE}.flask.server:app"),
        folder="flask",
        versions=("flask", "gunicorn"),
    ),
    Contender(
        name="flask-one",
        title="Flask, gunicorn, one worker",
        how="model in the process; 1 worker x 8 threads: the leanest",
        start=peer("flask", *GUNICORN, "--workers=1", "--threads=8", f"{PACKAGE}.flask.server:app"),
        folder="flask",
        versions=("flask", "gunicorn"),
    ),
    Contender(
        name="fastapi",
        title="FastAPI, uvicorn",
        how=f"model in the process; {CORES} workers, `def` endpoints in the thread pool",
        start=peer("fastapi", *UVICORN, f"--workers={CORES}"),
        folder="fastapi",
        versions=("fastapi", "uvicorn"),
    ),
    Contender(
        name="fastapi-one",
        title="FastAPI, uvicorn, one worker",
        how="the same with one worker",
        start=peer("fastapi", *UVICORN, "--workers=1"),
        folder="fastapi",
        versions=("fastapi", "uvicorn"),
    ),
    Contender(
        name="litserve",
        title="LitServe",
        how="batches of up to 32, 5 ms",
        start=peer("litserve", "python", "-m", f"{PACKAGE}.litserve.server", "{port}"),
        folder="litserve",
        versions=("litserve",),
    ),
    Contender(
        name="bentoml",
        title="BentoML",
        how="adaptive batching, up to 32, at most 1 s",
        start=peer(
            "bentoml",
            *("bentoml", "serve", f"{PACKAGE}.bentoml.service:Models", "--host=127.0.0.1", "--port={port}"),
            environment={"BENTOML_HOME": "{work}/bentoml", "BENTOML_DO_NOT_TRACK": "True"},
        ),
        form="list",
        folder="bentoml",
        versions=("bentoml",),
    ),
    Contender(
        name="mlserver",
        title="MLServer",
        how="adaptive batching, up to 32, 5 ms; no parallel workers",
        start=peer(
            "mlserver",
            *("mlserver", "start", str(PEERS / "mlserver" / "models")),
            environment={
                "MLSERVER_HTTP_PORT": "{port}",
                "MLSERVER_GRPC_PORT": "0",
                "MLSERVER_METRICS_PORT": "0",
            },
        ),
        body="v2",
        form="v2",
        path="/v2/models/{model}/infer",
        folder="mlserver",
        versions=("mlserver",),
    ),
    Contender(
        name="ray",
        title="Ray Serve",
        how="`@serve.batch` up to 32, 5 ms; throughput flags and HAProxy; no dashboard",
        start=peer(
            "ray",
            *("python", "-m", f"{PACKAGE}.ray.server", "{port}"),
            environment={
                "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
                "RAY_SERVE_ENABLE_HA_PROXY": "1",
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_TMPDIR": "{work}",
            },
        ),
        folder="ray",
        versions=("ray",),
    ),
    Contender(
        name="mosec",
        title="mosec",
        how="batches of up to 32, 1 ms (digits) or 5 ms (reviews)",
        start=peer("mosec", *MOSEC),
        folder="mosec",
        versions=("mosec",),
    ),
    Contender(
        name="mosec-frozen",
        title="mosec, collector frozen by hand",
        how="the same with `gc.freeze()` after loading, which its documentation does not say",
        start=peer("mosec", *MOSEC, environment={"BENCH_FREEZE": "1"}),
        folder="mosec",
        kind="frozen",
        versions=("mosec",),
    ),
)
