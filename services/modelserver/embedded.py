"""A model server inside another process: called as functions, from any thread. The gateway's way in, and the only one.

Nothing here waits for a network. Each call takes as long as the model does, so it is made in a thread of its own.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import grpc

from modelyard.models.tfserving.messages import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    regression_pb2,
)
from modelyard.models.types import Array
from modelyard.services.modelserver.api.model_service import report_status
from modelyard.services.modelserver.api.prediction_service import read_metadata, run_classify, run_regress
from modelyard.services.modelserver.engine import Engine
from modelyard.services.modelserver.errors import InvalidConfig as InvalidConfig  # noqa: PLC0414  # what callers raise
from modelyard.services.modelserver.errors import Refused as Refused  # noqa: PLC0414  # what callers catch
from modelyard.services.modelserver.errors import truncate_message as truncate_message  # noqa: PLC0414  # of its text
from modelyard.services.modelserver.inference.predict import run_signature
from modelyard.services.modelserver.lifecycle.loader import start_loader
from modelyard.services.modelserver.lifecycle.reconciler import Load
from modelyard.services.modelserver.metrics.call import CURRENT_CALL, MeasuredCall
from modelyard.services.modelserver.metrics.counts import OK
from modelyard.services.modelserver.runtime.arrays import make_array, make_tensor
from modelyard.services.modelserver.runtime.servable import DEFAULT_SIGNATURE, CancelCheck
from modelyard.services.modelserver.runtime.tensor import Tensor
from modelyard.services.modelserver.settings import Settings
from modelyard.services.modelserver.settings import parse_flags as parse_flags  # noqa: PLC0414  # of its settings
from modelyard.services.modelserver.warm_threads import WarmThreads as WarmThreads  # noqa: PLC0414  # for its calls

T = TypeVar("T")
ENTRYPOINT = "LOCAL"
"""Of calls by the process itself, in the metrics; those over gRPC have TensorFlow Serving's word."""


class EmbeddedServer:
    """An engine, and gRPC before it only where a flag names a port or a socket."""

    def __init__(
        self,
        settings: Settings,
        on_failure: Callable[[], None],
        start_loader: Callable[[Settings], Load] = start_loader,
    ) -> None:
        """``on_failure``: called once, in another thread, if nothing can be loaded any more.

        Raises:
            InvalidConfig: a flag that makes no sense here.
        """
        if settings.strict:
            raise InvalidConfig(
                "--strict: only a model server in a process of its own fails as TensorFlow Serving does"
            )
        self.settings = settings
        self._engine = Engine(settings, on_failure, start_loader, measured=True)
        self._registry, self._metrics = self._engine.registry, self._engine.metrics
        self._has_port = "port" in settings.model_fields_set
        self._stop_doors: Callable[[float], threading.Event] | None = None

    @property
    def addresses(self) -> Sequence[str]:
        """Where it can be reached over gRPC, by the processes of this machine: one address, or none."""
        if self.settings.grpc_socket_path is not None:
            return (f"unix:{self.settings.grpc_socket_path}",)
        return (self.settings.address,) if self._has_port else ()

    def start(self) -> None:
        """Starts to load, in threads of its own; calls are refused as UNAVAILABLE until then.

        Raises:
            ModelyardError: the configuration cannot be read or parsed, or an address is taken.
        """
        self._engine.configure()
        self._engine.start_loading()
        self._engine.start_watching(self._open_doors() if self.addresses else lambda: None)

    def stop(self, grace_s: float) -> None:
        """Loads nothing more, and ends gRPC: calls in flight there have ``grace_s``."""
        self._engine.stop()
        if self._stop_doors is not None:
            self._stop_doors(grace_s).wait()

    def predict(
        self,
        model: str,
        version: int | None,
        signature: str,
        inputs: Mapping[str, Array],
        check_cancelled: CancelCheck,
    ) -> tuple[int, dict[str, Array]]:
        """The version that answered, the newest if none is named, and its outputs by name.

        Outputs of types that have no array form, such as complex64, are left out.

        Raises:
            Refused: with gRPC's code and TensorFlow Serving's text.
        """
        name, options = signature or DEFAULT_SIGNATURE, self.settings.request_options

        def run() -> tuple[int, Mapping[str, Tensor]]:
            with self._registry.acquire(model, version) as found:
                outputs = run_signature(found.servable, name, inputs, make_tensor, (), options, check_cancelled)
            return found.number, outputs

        number, tensors = self._measure(model, "Predict", run)
        arrays = {alias: make_array(tensor) for alias, tensor in tensors.items()}
        return number, {alias: array for alias, array in arrays.items() if array is not None}

    def classify(
        self, request: classification_pb2.ClassificationRequest, check_cancelled: CancelCheck
    ) -> classification_pb2.ClassificationResponse:
        """Labels and scores of examples; raises ``Refused``."""
        run = partial(run_classify, self._registry, request, self.settings.request_options, check_cancelled)
        return self._measure(request.model_spec.name, "Classify", run)

    def regress(
        self, request: regression_pb2.RegressionRequest, check_cancelled: CancelCheck
    ) -> regression_pb2.RegressionResponse:
        """A number for each example; raises ``Refused``."""
        run = partial(run_regress, self._registry, request, self.settings.request_options, check_cancelled)
        return self._measure(request.model_spec.name, "Regress", run)

    def get_status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """States of versions; raises ``Refused``."""
        return report_status(self._registry, request)

    def get_metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Signatures of a version; raises ``Refused``."""
        return read_metadata(self._registry, request)

    def make_metrics_page(self) -> Callable[[], bytes]:
        """What renders its metrics in Prometheus' text format, without those of the process."""
        from modelyard.services.modelserver.metrics.page import Page  # which loads prometheus_client

        return Page(self._metrics, with_process=False).render

    def _measure(self, model: str, api: str, run: Callable[[], T]) -> T:
        """What ``run`` returns, counted."""
        call, code = MeasuredCall(), OK
        token = CURRENT_CALL.set(call)
        try:
            return run()
        except BaseException as error:
            code = find_code(error)
            raise
        finally:
            CURRENT_CALL.reset(token)
            self._metrics.add(call, model, api, ENTRYPOINT, code)

    def _open_doors(self) -> Callable[[], Any]:
        """Opens gRPC; returns what reports it ready."""
        from modelyard.services.modelserver.doors import Doors  # which loads gRPC's server, and its health service

        doors = Doors(self.settings, self._engine)
        doors.open(doors.bind(tcp=self._has_port))
        self._stop_doors = partial(doors.stop)
        return doors.report_serving


def find_code(error: BaseException) -> grpc.StatusCode:
    """The status that a client over gRPC would be told."""
    return error.code if isinstance(error, Refused) else grpc.StatusCode.INTERNAL
