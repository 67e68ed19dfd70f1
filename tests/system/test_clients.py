"""Clients that nobody here wrote, unmodified, against gateway and model server: predict, metadata, status and errors.

The expected answers are the golden ones: what the trained model said before it was exported.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelyard.models.registry.store import Store
from modelyard.pipeline import golden
from modelyard.pipeline.golden import load_golden, max_difference, output_key
from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support import environments
from tests.support.processes import WAIT_S
from tests.support.serving import Served, modelyard_serve
from tests.support.waiting import wait_until

MODEL, ROWS = "mnist_mlp", 3
IMAGES = {"name": "images", "datatype": "FP32", "shape": [-1, 28, 28, 1]}
AVAILABLE = 30
"""``ModelVersionStatus.State`` of get_model_status.proto."""


@dataclass(frozen=True)
class Golden:
    """Input files, and the right outputs: [rows, 10] for the images, [1, 10] for the one PNG."""

    images: Path
    png: Path
    probabilities: np.ndarray[Any, Any]
    of_png: np.ndarray[Any, Any]

    def check(self, found: dict[str, Any]) -> None:
        """Every way of asking gives the trained model's answer."""
        for way, answer in found.items():
            expected = self.of_png if way == "one PNG" else self.probabilities
            assert max_difference(np.array(answer), expected) <= golden.TOLERANCE, way


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Store:
    """One version, trained on what ships with the project."""
    return Store(shutil.copytree(trained, tmp_path_factory.mktemp("clients") / "store"))


@pytest.fixture(scope="module")
def served(store: Store) -> Iterator[Served]:
    with modelyard_serve(store.root.with_name("home"), "--models-dir", str(store.root)) as found:
        yield found


@pytest.fixture(scope="module")
def known(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    said = load_golden(store.path(MODEL, 1))
    folder = tmp_path_factory.mktemp("golden")
    np.save(folder / "images.npy", said["serving_default/images"][:ROWS])
    (folder / "image.png").write_bytes(said["image_bytes/image_bytes"][0])
    return Golden(
        folder / "images.npy",
        folder / "image.png",
        said[output_key("serving_default", "probabilities")][:ROWS],
        said[output_key("image_bytes", "probabilities")][:1],
    )


def check_errors(found: dict[str, list[Any]], expected: dict[str, tuple[Any, str]]) -> None:
    """Each error has its code, and its text says what was wrong."""
    assert {name: code for name, (code, _) in found.items()} == {name: code for name, (code, _) in expected.items()}
    for name, (_, text) in expected.items():
        assert text in found[name][1], name


def test_tritonclient(served: Served, known: Golden) -> None:
    """HTTP, JSON and binary, compressed or not, by version and label, waiting, in the background and with asyncio."""
    python = environments.interpreter("triton")
    found = environments.run(python, "triton", f"127.0.0.1:{served.port}", str(known.images), str(known.png))
    known.check(found["predictions"])
    known.check({way: found["asyncio"][way] for way in ("binary", "JSON", "gzip")})
    status = found["status"]
    assert status["server"]["extensions"] == ["binary_tensor_data", "model_repository"]
    assert status["model"]["inputs"] == [IMAGES]
    assert status["model"] == status["version"] == found["asyncio"]["metadata"]
    assert {"name": MODEL, "version": "1", "state": "READY", "reason": ""} in status["index"]
    ready = {name: status[name] for name in ("live", "ready", "model ready", "version ready", "unknown ready")}
    assert ready == {name: name != "unknown ready" for name in ready}
    check_errors(
        found["errors"],
        {
            "model": ("404", "nothing_here"),
            "version": ("404", "Servable not found for request: Specific(mnist_mlp, 99)"),
            "label": ("400", "Unrecognized servable version label: canary"),
            "input": ("400", 'expected images, received "pixels"'),
            "shape": ("400", "expected shape [n,28,28,1], received [3,28,28]"),
            "output": (
                "400",
                'expected atypicality or class_id or prediction_set or probabilities or typical, received "logits"',
            ),
            "metadata": ("404", "nothing_here"),
            "load": ("501", "rollout"),
            "unload": ("501", "rollout"),
            "sequence": ("400", "sequence_id"),
        },
    )


@pytest.mark.long
def test_kserve_rest_client(served: Served, known: Golden) -> None:
    """JSON and binary; it has no call for metadata."""
    found = environments.run(environments.interpreter("kserve_rest"), "kserve_rest", served.url, str(known.images))
    known.check(found["predictions"])
    assert (found["live"], found["ready"], found["model ready"], found["unknown ready"]) == (True, True, True, False)
    check_errors(
        found["errors"],
        {
            "model": (404, "nothing_here"),
            "shape": (400, "expected shape [n,28,28,1], received [3,28,28]"),
            "datatype": (400, 'inputs[0].datatype: expected FP32, received "INT64"'),
        },
    )


@pytest.mark.long
def test_ovmsclient(served: Served, known: Golden) -> None:
    """TensorFlow Serving's REST API from the gateway, and its gRPC API from the model server."""
    addresses = (f"127.0.0.1:{served.port}", f"127.0.0.1:{served.serving_port}")
    found = environments.run(environments.interpreter("ovms"), "ovms", *addresses, str(known.images))
    for way in ("REST", "gRPC"):
        known.check({way: found[way]["probabilities"]})
        assert found[way]["status"] == {"1": {"state": "AVAILABLE", "error_code": 0, "error_message": ""}}
        check_errors(
            found[way]["errors"],
            {
                "model": ("ModelNotFoundError", "Servable not found for request: Specific(nothing_here, 1)"),
                "version": ("ModelNotFoundError", "Servable not found for request: Specific(mnist_mlp, 99)"),
                "input": ("InvalidInputError", "images"),
                "status": ("ModelNotFoundError", "nothing_here"),
                "metadata": ("ModelNotFoundError", "nothing_here"),
            },
        )
    assert found["gRPC"]["metadata"]["inputs"] == {"images": {"shape": [-1, 28, 28, 1], "dtype": "DT_FLOAT"}}
    rest = found["REST"]["metadata"]["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert rest["inputs"]["images"]["dtype"] == "DT_FLOAT"


def test_serving_api_stubs(served: Served, known: Golden, forks: ForkServer) -> None:
    """As the package's own examples call a server, with TensorFlow's tensors."""
    arguments = (f"127.0.0.1:{served.serving_port}", str(known.images), str(known.png))
    with forks.start("tests.system.clients.serving_api", *arguments) as client:
        printed, errors = client.stdout.read(), client.stderr.read()
    assert client.returncode == 0, errors.decode()
    found = json.loads(printed)
    known.check(found["predictions"])
    assert found["values"] == [ROWS * 10, 0]  # lists, as clients of TensorFlow Serving read them
    assert found["filtered"] == ["class_id"]
    assert found["metadata"] == {
        "serving_default": ["images"],
        "image_bytes": ["image_bytes"],
        "explain": ["images"],
        "explain_bytes": ["image_bytes"],
    }
    assert found["status"] == [[1, AVAILABLE]]
    check_errors(
        found["errors"],
        {
            "model": ("NOT_FOUND", "Servable not found for request: Latest(nothing_here)"),
            "version": ("NOT_FOUND", "Servable not found for request: Specific(mnist_mlp, 99)"),
            "signature": ("FAILED_PRECONDITION", '"nothing" not found'),
            "input": ("INVALID_ARGUMENT", "images"),
            "output": ("INVALID_ARGUMENT", "logits"),
            "metadata": ("NOT_FOUND", "Servable not found for request: Latest(nothing_here)"),
            "status": ("NOT_FOUND", "nothing_here"),
        },
    )


def test_grpc_health_probe(served: Served) -> None:
    """The server as a whole; a service that it does not have is NOT_FOUND."""
    with grpc.insecure_channel(f"127.0.0.1:{served.serving_port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check

        def serves() -> bool:
            answer = check(health_pb2.HealthCheckRequest(), timeout=30)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        wait_until(serves, WAIT_S, "SERVING")  # a moment after the last model
        with pytest.raises(grpc.RpcError) as refused:
            check(health_pb2.HealthCheckRequest(service="nothing"), timeout=30)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


CLIENT_ERRORS = {
    "missing": (404, "'nothing_here' has no version yet"),
    "wrong": (400, "expected"),
}
"""Of generated clients."""


@pytest.mark.long
def test_a_generated_python_client(served: Served, known: Golden) -> None:
    """Made from /openapi.json by openapi-python-client: typed answers and errors, JSON and files."""
    python = environments.interpreter("openapi_python")
    found = environments.run(python, "openapi_python", served.url, str(known.png))
    label = str(known.of_png.argmax())
    assert found["models"] == [MODEL]
    assert found["row"] == ["Predictions", label]
    assert found["file"] == ["SingleLabel", label, "1"]
    assert {name: found[name][1] for name in CLIENT_ERRORS} == dict.fromkeys(CLIENT_ERRORS, "Error")
    check_errors({name: found[name][::2] for name in CLIENT_ERRORS}, CLIENT_ERRORS)
    assert all("text/" in line or "json" in line for line in found["left out"])


@pytest.mark.long
def test_a_generated_typescript_client(served: Served, known: Golden) -> None:
    """Types by openapi-typescript from /openapi.json, checked by tsc in strict mode; run by Node.js."""
    python = environments.interpreter("openapi_typescript")
    found = environments.run(python, "openapi_typescript", served.url, str(known.png))
    label = str(known.of_png.argmax())
    assert (found["models"], found["row"], found["file"]) == ([MODEL], label, [label, "1"])
    check_errors({name: found[name] for name in CLIENT_ERRORS}, CLIENT_ERRORS)
