"""``tensorflow.serving.PredictionService``: finds the requested version, runs it, names it in the response."""

from dataclasses import replace
from functools import partial

import grpc

from modelyard.models.tfserving.messages import (
    TENSORS_AS_CONTENT,
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from modelyard.services.modelserver.errors import Refused, handle_errors
from modelyard.services.modelserver.inference.classify import classify
from modelyard.services.modelserver.inference.multi_inference import run_multi_inference
from modelyard.services.modelserver.inference.predict import predict
from modelyard.services.modelserver.inference.regress import regress
from modelyard.services.modelserver.lifecycle.registry import Registry
from modelyard.services.modelserver.runtime.servable import DEFAULT_SIGNATURE, CancelCheck, RequestOptions

SIGNATURE_DEF = "signature_def"


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]  # untyped, generated
    """Runs versions of the registry. Right before a run it checks that the call is still active."""

    def __init__(self, registry: Registry, options: RequestOptions) -> None:
        self._registry = registry
        self._options = options
        self._as_content = replace(options, enable_serialization_as_tensor_content=True)

    @handle_errors
    def Predict(  # noqa: N802 - the protocol's name
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs one signature. Outputs are lists of values, unless the client or a flag asks for ``tensor_content``."""
        with self._registry.acquire_version(request.model_spec) as version:
            check_cancelled = partial(require_active_call, context)
            asked = TENSORS_AS_CONTENT in context.invocation_metadata()
            response = predict(version.servable, request, self._as_content if asked else self._options, check_cancelled)
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version.number
        return response

    @handle_errors
    def Classify(  # noqa: N802 - the protocol's name
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Runs a classification signature on serialized examples."""
        return run_classify(self._registry, request, self._options, partial(require_active_call, context))

    @handle_errors
    def Regress(  # noqa: N802 - the protocol's name
        self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        """Runs a regression signature on serialized examples."""
        return run_regress(self._registry, request, self._options, partial(require_active_call, context))

    @handle_errors
    def MultiInference(  # noqa: N802 - the protocol's name
        self, request: inference_pb2.MultiInferenceRequest, context: grpc.ServicerContext
    ) -> inference_pb2.MultiInferenceResponse:
        """Runs several such signatures of one model at once; the first task names the version."""
        spec = request.tasks[0].model_spec if request.tasks else predict_pb2.PredictRequest().model_spec
        with self._registry.acquire_version(spec) as version:
            response = run_multi_inference(
                version.servable, request, self._options, partial(require_active_call, context)
            )
        for result in response.results:
            result.model_spec.version.value = version.number
        return response

    @handle_errors
    def GetModelMetadata(  # noqa: N802 - the protocol's name
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The SavedModel's signatures, from its file."""
        del context
        return read_metadata(self._registry, request)


def run_classify(
    registry: Registry,
    request: classification_pb2.ClassificationRequest,
    options: RequestOptions,
    check_cancelled: CancelCheck,
) -> classification_pb2.ClassificationResponse:
    """Classify on the version that the request names; raises ``Refused``."""
    response = classification_pb2.ClassificationResponse()
    with registry.acquire_version(request.model_spec) as version:
        response.result.CopyFrom(classify(version.servable, request, options, check_cancelled))
    _fill_model_spec(response.model_spec, request.model_spec, version.number)
    return response


def run_regress(
    registry: Registry, request: regression_pb2.RegressionRequest, options: RequestOptions, check_cancelled: CancelCheck
) -> regression_pb2.RegressionResponse:
    """Regress on the version that the request names; raises ``Refused``."""
    response = regression_pb2.RegressionResponse()
    with registry.acquire_version(request.model_spec) as version:
        response.result.CopyFrom(regress(version.servable, request, options, check_cancelled))
    _fill_model_spec(response.model_spec, request.model_spec, version.number)
    return response


def read_metadata(
    registry: Registry, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of the version that the request names; raises ``Refused``."""
    if not request.HasField("model_spec"):
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
    check_metadata_fields(request.metadata_field)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    with registry.acquire_version(request.model_spec) as version:
        response.metadata[SIGNATURE_DEF].Pack(version.servable.signature_defs)
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = version.number
    return response


def _fill_model_spec(filled: predict_pb2.PredictResponse, requested: predict_pb2.PredictRequest, version: int) -> None:
    """Fills in the model, signature and version of a response. Both arguments are ``ModelSpec``s."""
    filled.name = requested.name
    filled.signature_name = requested.signature_name or DEFAULT_SIGNATURE
    filled.version.value = version


def require_active_call(context: grpc.ServicerContext) -> None:
    """Refuses a call that was cancelled or whose deadline has passed.

    grpc drops calls that ended while they waited for a thread; this covers the time since then.
    """
    remaining_s = context.time_remaining()
    if remaining_s is not None and remaining_s <= 0:
        raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the model was run")
    if not context.is_active():
        raise Refused(grpc.StatusCode.CANCELLED, "the call was cancelled before the model was run")


def check_metadata_fields(fields: list[str]) -> None:
    if not fields:
        message = "GetModelMetadataRequest must specify at least one metadata_field"
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, message)
    for name in fields:
        if name != SIGNATURE_DEF:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Metadata field {name} is not supported")
