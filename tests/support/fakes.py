"""Small stand-ins, passed in where the real thing would be: a model server, and published versions for it to serve."""

import io
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from PIL import Image

from modelyard.models.registry.manifest import (
    DataRecord,
    ImageLimits,
    SignatureSpec,
    TensorSpec,
    TextLimits,
)
from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import (
    classification_pb2,
    from_proto,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
    to_proto,
)
from tests.support.fake_models import FUNCTIONS, Array
from tests.support.versions import seal_as

DIGITS, REVIEWS, HALF_PLUS = "digits", "reviews", "half_plus"

# --- published versions -----------------------------------------------------------------------------------------------

CLASSES = (
    TensorSpec(name="class_id", dtype="int64", shape=(None,)),
    TensorSpec(name="probabilities", dtype="float32", shape=(None, 2)),
)


def takes(name: str, dtype: str, *shape: int) -> SignatureSpec:
    return SignatureSpec(inputs=(TensorSpec(name=name, dtype=dtype, shape=(None, *shape)),), outputs=CLASSES)


def data(source: str) -> DataRecord:
    return DataRecord(name="fake", source=source, fingerprint="0" * 64, train=1, validation=1, test=1)


KINDS: Mapping[str, Mapping[str, Any]] = {
    DIGITS: {
        "task": "binary",
        "input": ImageLimits(height=28, width=28, max_pixels=1_000_000),
        "labels": ("dark", "light"),
        "signatures": {
            "image_bytes": takes("image_bytes", "string"),
            "serving_default": takes("images", "float32", 28, 28, 1),
        },
        "data": data("real"),
    },
    REVIEWS: {
        "task": "binary",
        "input": TextLimits(max_chars=20_000),
        "labels": ("negative", "positive"),
        "signatures": {"serving_default": takes("text", "string")},
        "data": data("sample"),
    },
    HALF_PLUS: {},
}


def publish(
    store: Store,
    model: str,
    *,
    stable: bool = True,
    prepare: Callable[[Path], object] = lambda _: None,
    **fields: Any,
) -> int:
    """A version without a graph, as the fake server needs none; ``fields`` go into its manifest.

    ``prepare`` puts further files into it.
    """
    with store.staging(model) as staged:
        (staged / "saved_model.pb").write_bytes(b"no graph")
        (staged / "assets.extra").mkdir()
        prepare(staged)
        version = store.publish(staged, seal_as(model, **{**KINDS.get(model, {}), **fields})).version
    if stable:
        change_rollout(store, model, lambda found: found.promote(version, by="test", reason="published"))
    return version


def encoded(form: str, size: tuple[int, int] = (28, 28)) -> bytes:
    """A grey image file."""
    file = io.BytesIO()
    Image.new("L", size, 200).save(file, form)
    return file.getvalue()


# --- the model server -------------------------------------------------------------------------------------------------


class FakeModelServer(
    prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer
):
    """TensorFlow Serving's gRPC API over the functions above, in this process, on a free port."""

    def __init__(self, store: Store, credentials: grpc.ServerCredentials | None = None) -> None:
        """``credentials``: of TLS, which it then speaks alone."""
        self._store = store
        self.entered, self.release = threading.Event(), threading.Event()
        """A prediction sets the first and waits for the second."""
        self.talks = threading.Event()
        """Questions about models wait for it."""
        self.reset()
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self, self._server)
        if credentials:
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
        else:
            port = self._server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"

    def reset(self) -> None:
        """As it was at first, for the next test that shares it: nothing was called, nothing fails."""
        self.loaded = {(model, version) for model in self._store.models() for version in self._store.versions(model)}
        self.unloadable: dict[tuple[str, int], tuple[int, str]] = {}
        """Versions that it tried to load and could not, with code (``tensorflow.error.Code``) and text."""
        self.loading: set[tuple[str, int]] = set()
        self.failures: deque[tuple[grpc.StatusCode, str]] = deque()
        """What the next predictions fail with, one each."""
        self.functions: dict[str, Callable[[dict[str, Array]], dict[str, Array]]] = {}
        """What models with several inputs compute of them, by name."""
        self.explain: Callable[[dict[str, Array]], dict[str, Array]] | None = None
        """What signatures compute whose name begins so."""
        self.outputs: dict[str, Array] | None = None
        """Outputs of predictions instead of the computed ones."""
        self.refused: bytes | float | None = None
        """An input for which a whole batch is refused that holds it."""
        self.score: float | None = None
        """Outputs for examples instead of the computed ones."""
        self.signatures: get_model_metadata_pb2.SignatureDefMap | None = None
        """Metadata of versions instead of that of ``half_plus``."""
        self.signatures_of: dict[str, get_model_metadata_pb2.SignatureDefMap] = {}
        """Metadata of single models."""
        self.calls: list[Any] = []
        self.metadata: list[Mapping[str, str]] = []
        """Of predictions."""
        self.entered.clear()
        self.release.set()
        self.talks.set()

    def __enter__(self) -> "FakeModelServer":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self.talks.set()
        self._server.stop(0).wait()

    def fail_next(self, code: grpc.StatusCode, text: str = "on purpose", times: int = 1) -> None:
        self.failures.extend([(code, text)] * times)

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        self.metadata.append(dict(context.invocation_metadata()))
        self.calls.append(request)
        self.entered.set()
        self.release.wait()
        self._fail(context)
        model, version = self._find(request, context)
        outputs = self.outputs or self._compute(model, version, request, context)
        reply = predict_pb2.PredictResponse()
        reply.model_spec.name, reply.model_spec.version.value = model, version
        for key, array in outputs.items():
            reply.outputs[key].CopyFrom(to_proto(array))
        return reply

    def _compute(self, model: str, version: int, request: Any, context: Any) -> dict[str, Array]:
        inputs = {name: from_proto(tensor) for name, tensor in request.inputs.items()}
        if self.refused is not None and any(self.refused in array for array in inputs.values()):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "an input is refused")
        if self.explain and request.model_spec.signature_name.startswith("explain"):
            return self.explain(inputs)
        if model in self.functions:
            return self.functions[model](inputs)
        name = next(name for name in FUNCTIONS if name in inputs)
        return FUNCTIONS[name](inputs[name], version)

    def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        """Each example's features are its classes, and their number of values the score."""
        reply = classification_pb2.ClassificationResponse()
        for example in self._examples(request, context, reply):
            classes = reply.result.classifications.add().classes
            for name, feature in sorted(example.features.feature.items()):
                size = len(getattr(feature, feature.WhichOneof("kind") or "bytes_list").value)
                classes.add(label=name, score=size if self.score is None else self.score)
        return reply

    def Regress(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        """Each example's number of features, and a tenth."""
        reply = regression_pb2.RegressionResponse()
        for example in self._examples(request, context, reply):
            truth = len(example.features.feature) + 0.1
            reply.result.regressions.add(value=truth if self.score is None else self.score)
        return reply

    def _examples(self, request: Any, context: Any, reply: Any) -> list[Any]:
        self.calls.append(request)
        self._fail(context)
        reply.model_spec.name, reply.model_spec.version.value = self._find(request, context)
        return list(request.input.example_list.examples or request.input.example_list_with_context.examples)

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        self.talks.wait()
        name, states = request.model_spec.name, get_model_status_pb2.ModelVersionStatus.State
        known = dict.fromkeys(self.loaded, ("AVAILABLE", (0, "")))
        known |= dict.fromkeys(self.loading, ("LOADING", (0, "")))
        known |= {key: ("END", failure) for key, failure in self.unloadable.items()}
        if not any(model == name for model, _ in known):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({name})")
        if request.model_spec.HasField("version"):
            self._find(request, context)
            known = {(name, request.model_spec.version.value): ("AVAILABLE", (0, ""))}
        reply = get_model_status_pb2.GetModelStatusResponse()
        for (model, number), (state, (code, text)) in sorted(known.items()):
            if model == name:
                entry = reply.model_version_status.add(version=number, state=states.Value(state))
                entry.status.error_code, entry.status.error_message = code, text
        return reply

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        self.talks.wait()
        model, version = self._find(request, context)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        signature = signatures.signature_def["serving_default"]
        signature.method_name = "tensorflow/serving/predict"
        signature.inputs["vectors"].name, signature.inputs["vectors"].dtype = "vectors:0", 1
        signature.inputs["vectors"].tensor_shape.dim.add(size=-1)
        reply = get_model_metadata_pb2.GetModelMetadataResponse()
        reply.model_spec.name, reply.model_spec.version.value = model, version
        reply.metadata["signature_def"].Pack(self.signatures_of.get(model) or self.signatures or signatures)
        return reply

    def _fail(self, context: Any) -> None:
        try:
            failure = self.failures.popleft()
        except IndexError:
            return
        context.abort(*failure)

    def _find(self, request: Any, context: Any) -> tuple[str, int]:
        spec = request.model_spec
        if any(model == spec.name for model, _ in self.loading) and not self._versions(spec.name):
            context.abort(grpc.StatusCode.UNAVAILABLE, f"model {spec.name} is being loaded; try again in a moment")
        if not self._versions(spec.name):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        version = spec.version.value if spec.HasField("version") else self._versions(spec.name)[-1]
        if (spec.name, version) not in self.loaded:
            context.abort(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific({spec.name}, {version})"
            )
        return spec.name, version

    def _versions(self, model: str) -> list[int]:
        return sorted(version for name, version in self.loaded if name == model)


def fill(root: Path) -> Store:
    """A store with two versions of ``half_plus`` and one of the others, all stable ones loaded."""
    store = Store(root)
    store.prepare()
    for model in (DIGITS, REVIEWS, HALF_PLUS, HALF_PLUS):
        publish(store, model)
    return store
