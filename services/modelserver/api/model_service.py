"""``tensorflow.serving.ModelService``: states of versions, and a new configuration by call."""

from collections.abc import Mapping

import grpc

from modelyard.models.tfserving.messages import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc
from modelyard.services.modelserver.errors import InvalidConfig, Refused, handle_errors
from modelyard.services.modelserver.lifecycle.config import read_config_message
from modelyard.services.modelserver.lifecycle.core import ServerCore
from modelyard.services.modelserver.lifecycle.registry import Registry, VersionState


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]  # untyped, generated
    """Reports the registry's states; passes new configurations to the core."""

    def __init__(self, registry: Registry, core: ServerCore) -> None:
        self._registry = registry
        self._core = core

    @handle_errors
    def GetModelStatus(  # noqa: N802 - the protocol's name
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """States by version, ascending; a label is ignored, as by TensorFlow Serving (``get_model_status_impl.cc``)."""
        del context
        return report_status(self._registry, request)

    @handle_errors
    def HandleReloadConfigRequest(  # noqa: N802 - the protocol's name
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Replaces the whole configuration, in memory only: the next change of the file replaces it in turn."""
        try:
            models = read_config_message(request.config)
        except InvalidConfig as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        self._core.reload(models, is_wanted=context.is_active)
        return model_management_pb2.ReloadConfigResponse()


def report_status(
    registry: Registry, request: get_model_status_pb2.GetModelStatusRequest
) -> get_model_status_pb2.GetModelStatusResponse:
    """States by version, ascending.

    Raises:
        Refused: INVALID_ARGUMENT without a model, NOT_FOUND for one, or a version, that the server does not know.
    """
    if not request.HasField("model_spec"):
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
    states = find_states(registry, request.model_spec.name)
    if request.model_spec.HasField("version"):
        states = select_version(states, request.model_spec.name, request.model_spec.version.value)
    response = get_model_status_pb2.GetModelStatusResponse()
    for number in sorted(states):
        entry = response.model_version_status.add(version=number, state=states[number].state)
        entry.status.error_code = states[number].code
        entry.status.error_message = states[number].message
    return response


def find_states(registry: Registry, model: str) -> Mapping[int, VersionState]:
    states = registry.states.get(model, {})
    if not states:
        raise Refused(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {model}")
    return states


def select_version(states: Mapping[int, VersionState], model: str, version: int) -> Mapping[int, VersionState]:
    if version not in states:
        raise Refused(grpc.StatusCode.NOT_FOUND, f"Could not find version {version} of model {model}")
    return {version: states[version]}
