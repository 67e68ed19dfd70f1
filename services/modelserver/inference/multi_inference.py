"""MultiInference: several Classify and Regress tasks over the same examples, in one run of the graph.

Order of the checks, codes and messages: tensorflow/serving ``servables/tensorflow/multi_inference.cc``.
"""

from types import ModuleType

import grpc

from modelyard.models.tfserving.messages import inference_pb2
from modelyard.services.modelserver.errors import Refused
from modelyard.services.modelserver.inference import classify as classification
from modelyard.services.modelserver.inference import regress as regression
from modelyard.services.modelserver.inference.examples import invalid_argument, serialize_examples
from modelyard.services.modelserver.runtime.servable import (
    CLASSIFY,
    DEFAULT_SIGNATURE,
    REGRESS,
    CancelCheck,
    RequestOptions,
    Servable,
)

METHODS: dict[str, tuple[ModuleType, str]] = {
    CLASSIFY: (classification, "classification_result"),
    REGRESS: (regression, "regression_result"),
}
"""Of each method: the module with its functions, and the field of its result."""


def run_multi_inference(
    servable: Servable,
    request: inference_pb2.MultiInferenceRequest,
    options: RequestOptions,
    check_cancelled: CancelCheck,
) -> inference_pb2.MultiInferenceResponse:
    """Runs all tasks; the caller fills in the version.

    Raises:
        Refused: a task does not fit its signature or the other tasks; TensorFlow's own error of the run.
    """
    inputs, fetches = _plan(servable, request, options)
    examples = serialize_examples(request.input)
    feeds = dict.fromkeys(inputs, examples)
    answers = dict(zip(fetches, servable.run(feeds, fetches, check_cancelled), strict=True))
    response = inference_pb2.MultiInferenceResponse()
    for task in request.tasks:
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        method, field = METHODS[task.method_name]
        filled = response.results.add()
        getattr(filled, field).CopyFrom(method.build_result(servable.signatures[name], examples.shape[0], answers))
        filled.model_spec.name, filled.model_spec.signature_name = task.model_spec.name, name
    return response


def _plan(
    servable: Servable, request: inference_pb2.MultiInferenceRequest, options: RequestOptions
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names in the graph, sorted: of all inputs, each of which takes the examples, and of all outputs.

    Signatures of a TensorFlow 1 graph mostly share an input; in one of TensorFlow 2 each has its own.
    """
    seen: set[str] = set()
    fetches: set[str] = set()
    inputs: set[str] = set()
    for task in request.tasks:
        _check_model(request, task)
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in seen:
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        if name not in servable.signatures:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        if task.method_name not in METHODS:
            message = f"Unsupported signature method_name: {task.method_name}"
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, message)
        input_name, outputs = METHODS[task.method_name][0].find_tensors(servable.signatures[name], options)
        inputs.add(input_name)
        fetches.update(outputs)
    if not inputs:
        raise invalid_argument("Found no inference tasks.")
    return tuple(sorted(inputs)), tuple(sorted(fetches))


def _check_model(request: inference_pb2.MultiInferenceRequest, task: inference_pb2.InferenceTask) -> None:
    if not task.model_spec.name:
        raise invalid_argument("Found ModelSpec with an empty model name.")
    if task.model_spec.name != request.tasks[0].model_spec.name:
        raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
