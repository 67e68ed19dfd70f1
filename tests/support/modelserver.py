"""A model server in this process, with versions that reveal themselves: version N computes x/2 + N."""

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelyard.models.registry.store import replace_file
from modelyard.models.tfserving.client import ServingClient
from modelyard.models.tfserving.messages import (
    ServingFailed,
    VersionStatus,
    get_model_metadata_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    to_proto,
    types_pb2,
)
from modelyard.models.types import Array
from modelyard.services.gateway.settings import LOCAL
from modelyard.services.modelserver.embedded import EmbeddedServer
from modelyard.services.modelserver.lifecycle.reconciler import Load
from modelyard.services.modelserver.runtime.servable import (
    CancelCheck,
    Servable,
    Signature,
    TensorInfo,
)
from modelyard.services.modelserver.runtime.tensor import Tensor
from modelyard.services.modelserver.server import ModelServer
from modelyard.services.modelserver.settings import Settings
from tests.support.half_plus import save
from tests.support.waiting import TIMEOUT_S, wait_until

X = np.array([[1.0, 2.0, 3.0]], np.float32)
VERSIONS = (1, 2, 3)
HELD_S = 3 * TIMEOUT_S
"""For what is held back until something else has been waited for."""
SERVER_THREADS = {"load", "poll", "ready"}
"""Names of the threads that a server starts for itself."""


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Path]:
    """Folders of versions 1, 2 and 3, to be copied."""
    root = tmp_path_factory.mktemp("saved")
    for version in VERSIONS:
        save(version, root / str(version))
    return {version: root / str(version) for version in VERSIONS}


@dataclass
class Store:
    """A model store, and the configuration beside it."""

    root: Path
    saved: Mapping[int, Path]

    @property
    def config(self) -> Path:
        return self.root / "models.config"

    def put(self, model: str, version: int, edit: Callable[[Path], Any] = lambda _: None) -> Path:
        """Publishes a copy of a saved version with one rename, after ``edit`` did something to it."""
        staged = self.root / model / f".staging-{version}"
        shutil.copytree(self.saved.get(version, self.saved[1]), staged)
        edit(staged)
        return staged.rename(self.root / model / str(version))

    def entry(self, model: str, policy: str = "", labels: Mapping[str, int] | None = None) -> str:
        labelled = "".join(
            f' version_labels {{ key: "{key}" value: {value} }}' for key, value in (labels or {}).items()
        )
        versions = f" model_version_policy {{ {policy} }}" if policy else ""
        base_path = self.root / model
        return f'config {{ name: "{model}" base_path: "{base_path}" model_platform: "tensorflow"{versions}{labelled} }}'

    def configure(self, *entries: str) -> None:
        replace_file(self.config, self.text(*entries).encode())

    @staticmethod
    def text(*entries: str) -> str:
        return "model_config_list { " + " ".join(entries) + " }"


class Served:
    """Clients of one running server."""

    def __init__(self, address: str, store: Store, inside: EmbeddedServer | None = None) -> None:
        """``inside``: the server, if it is one for a gateway of the same process."""
        self.store = store
        self.inside = inside
        self.serving = (address,) if inside is None else (LOCAL,)
        """The gateway's setting."""
        self.client = ServingClient(address)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.client.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.client.channel)
        self.health_stub = health_pb2_grpc.HealthStub(self.client.channel)

    def predict(self, version: int, model: str = "m", x: Array = X) -> Array:
        return self.client.predict(model, version, "serving_default", {"x": x}, timeout_s=TIMEOUT_S)["y"]

    def runs(self, version: int, model: str = "m") -> int:
        return int(self.client.predict(model, version, "count", {}, timeout_s=TIMEOUT_S)["runs"])

    def status(self, version: int, model: str = "m") -> VersionStatus | None:
        """State of one version; None if the server does not know it."""
        try:
            return self.client.status(model, timeout_s=TIMEOUT_S, version=version)[0]
        except ServingFailed as error:
            if error.code != grpc.StatusCode.NOT_FOUND:
                raise
            return None

    def state(self, version: int, model: str = "m") -> str:
        found = self.status(version, model)
        return found.state if found else ""

    def await_state(self, version: int, state: str, model: str = "m", within_s: float = TIMEOUT_S) -> VersionStatus:
        """The status in which the version was found in this state; a moment later it may be in another."""
        seen: list[VersionStatus] = []

        def reached() -> bool:
            found = self.status(version, model)
            if found is None or found.state != state:
                return False
            seen.append(found)
            return True

        eventually(reached, f"{model}/{version} {state}", within_s)
        return seen[0]

    def is_serving(self) -> bool:
        """Whether it says so; a connection that a busy machine did not accept in time is a no."""
        try:
            return self.health() == "SERVING"
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                return False
            raise

    def health(self, service: str = "") -> str:
        reply = self.health_stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def request(
    model: str = "m",
    signature: str = "",
    *,
    version: int | None = None,
    label: str = "",
    **inputs: Array,
) -> predict_pb2.PredictRequest:
    """A PredictRequest; strings as object arrays of bytes."""
    made = predict_pb2.PredictRequest()
    made.model_spec.name = model
    made.model_spec.signature_name = signature
    if version is not None:
        made.model_spec.version.value = version
    if label:
        made.model_spec.version_label = label
    for name, array in inputs.items():
        made.inputs[name].CopyFrom(to_proto(array))
    return made


def eventually(holds: Callable[[], bool], what: str, within_s: float = TIMEOUT_S) -> None:
    """Waits for a condition; fails, naming it, when its time is up."""
    wait_until(holds, within_s, what)


class Blocking:
    """A loader of stand-ins without TensorFlow: version 1 answers only when it is released, the others at once."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.go = threading.Event()
        self.runs: list[int] = []
        """The version of each run that was started."""

    def __call__(self, settings: Settings) -> Load:
        del settings
        return self._load

    def _load(self, folder: Path) -> Servable:
        info = TensorInfo("x:0", types_pb2.DT_FLOAT), TensorInfo("y:0", types_pb2.DT_FLOAT)
        signature = Signature({"x": info[0]}, {"y": info[1]})
        run = partial(self._run, int(folder.name))
        return Servable({"serving_default": signature}, get_model_metadata_pb2.SignatureDefMap(), run)

    def _run(
        self, version: int, feeds: Mapping[str, Tensor], fetches: tuple[str, ...], waiting: CancelCheck
    ) -> list[Tensor]:
        del fetches
        waiting()
        self.runs.append(version)
        self.running.set()
        if version == 1 and not self.go.wait(HELD_S):
            raise TimeoutError
        x = feeds["x:0"]
        y = np.frombuffer(x.raw, np.float32) / 2 + version
        return [Tensor(x.dtype, x.shape, y.astype(np.float32).tobytes())]


Serve = Callable[..., Served]
MODES = ("apart", "inside")
"""Where the model server of a gateway runs: over gRPC, as in a process of its own, or inside the gateway's."""
INSIDE_FIRST = ("inside", pytest.param("apart", marks=pytest.mark.long))
APART_FIRST = ("apart", pytest.param("inside", marks=pytest.mark.long))
"""For what is about the models: ``test_inside_gateway.py`` shows that either mode answers alike."""


@contextmanager
def model_server(mode: str, store: Store, folder: Path, **flags: Any) -> Iterator[Served]:
    """A server in one of the ``MODES`` of what its store's ``models.config`` says; its socket goes into ``folder``."""
    if mode == "apart":
        apart = ModelServer(Settings(port=0, model_config_file=store.config, **flags), on_failure=list)
        served, stop = Served(f"127.0.0.1:{apart.start()}", store), lambda: apart.stop(grace_s=0).wait(TIMEOUT_S)
    else:
        settings = Settings(model_config_file=store.config, grpc_socket_path=folder / "serving.sock", **flags)
        inside = EmbeddedServer(settings, on_failure=list)
        inside.start()
        served, stop = Served(*inside.addresses, store, inside), lambda: inside.stop(grace_s=0)
    try:
        yield served
    finally:
        served.client.close()
        stop()


@pytest.fixture
def store(tmp_path: Path, saved: Mapping[int, Path]) -> Store:
    return Store(tmp_path / "store", saved)


@pytest.fixture
def serve(store: Store) -> Iterator[Serve]:
    """Starts servers on ``store`` that poll fast; keyword arguments go to ``Settings`` or ``ModelServer``."""
    started: list[tuple[ModelServer, Served]] = []

    def start(*, start_loader: Any = None, **flags: Any) -> Served:
        quick = {"model_config_file_poll_wait_seconds": 0.02, "file_system_poll_wait_seconds": 0.02}
        settings = Settings(**{"port": 0, "model_config_file": store.config, **quick, **flags})
        broken = threading.Event()
        loader = {"start_loader": start_loader} if start_loader else {}
        server = ModelServer(settings, on_failure=broken.set, **loader)
        served = Served(f"127.0.0.1:{server.start()}", store)
        started.append((server, served))
        return served

    yield start
    for server, served in started:
        served.client.close()
        server.stop(grace_s=0).wait(TIMEOUT_S)
    eventually(lambda: SERVER_THREADS.isdisjoint(thread.name for thread in threading.enumerate()), "no thread is left")


@pytest.fixture
def served(store: Store, serve: Serve) -> Served:
    """A server that serves versions 1 and 2 of ``m``, and is ready."""
    for version in (1, 2):
        store.put("m", version)
    store.configure(store.entry("m", "all {}", {"old": 1}))
    running = serve()
    eventually(running.is_serving, "ready")
    return running
