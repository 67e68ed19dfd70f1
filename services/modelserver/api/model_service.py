"""``tensorflow.serving.ModelService``: states of versions, and a new configuration by call."""

from collections.abc import Mapping

import grpc

from modelyard.models.tfserving.messages import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc
from modelyard.services.modelserver.errors import InvalidConfig, Refused, answering
from modelyard.services.modelserver.lifecycle import config
from modelyard.services.modelserver.lifecycle.core import ServerCore
from modelyard.services.modelserver.lifecycle.registry import Registry, VersionState


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]  # untyped, generated
    """Reports the registry's states; hands new configurations to the core."""

    def __init__(self, registry: Registry, core: ServerCore) -> None:
        self._registry = registry
        self._core = core

    @answering
    def GetModelStatus(  # noqa: N802 - the protocol's name
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """States by version, ascending; a label is ignored, as by TensorFlow Serving (``get_model_status_impl.cc``)."""
        del context
        if not request.HasField("model_spec"):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
        states = known_states(self._registry, request.model_spec.name)
        if request.model_spec.HasField("version"):
            states = only(states, request.model_spec.name, request.model_spec.version.value)
        response = get_model_status_pb2.GetModelStatusResponse()
        for number in sorted(states):
            entry = response.model_version_status.add(version=number, state=states[number].state)
            entry.status.error_code = states[number].code
            entry.status.error_message = states[number].message
        return response

    @answering
    def HandleReloadConfigRequest(  # noqa: N802 - the protocol's name
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Supersedes the whole configuration, in memory only: the file's next change supersedes it in turn."""
        try:
            models = config.from_proto(request.config)
        except InvalidConfig as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        self._core.reload(models, still_wanted=context.is_active)
        return model_management_pb2.ReloadConfigResponse()


def known_states(registry: Registry, model: str) -> Mapping[int, VersionState]:
    states = registry.states.get(model, {})
    if not states:
        raise Refused(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {model}")
    return states


def only(states: Mapping[int, VersionState], model: str, version: int) -> Mapping[int, VersionState]:
    if version not in states:
        raise Refused(grpc.StatusCode.NOT_FOUND, f"Could not find version {version} of model {model}")
    return {version: states[version]}
