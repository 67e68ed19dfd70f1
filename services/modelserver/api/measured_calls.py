"""Each call of the API that runs a model, counted by its status, and with its time."""

from functools import partial
from typing import Any

import grpc

from modelyard.services.modelserver.metrics.call import CURRENT_CALL, MeasuredCall
from modelyard.services.modelserver.metrics.counts import OK, ServingMetrics

MULTI_INFERENCE = "MultiInference"
MEASURED = frozenset({"Predict", "Classify", "Regress", MULTI_INFERENCE})
"""TensorFlow Serving counts the last one's runs, but not its calls."""
ENTRYPOINT = "GRPC"


class MeasuredCalls:
    """A servicer of predictions, measured."""

    def __init__(self, servicer: object, metrics: ServingMetrics) -> None:
        self._servicer = servicer
        self._add = metrics.add

    def __getattr__(self, method: str) -> Any:
        behaviour = getattr(self._servicer, method)
        return partial(self._run, method, behaviour) if method in MEASURED else behaviour

    def _run(self, api: str, behaviour: Any, request: Any, context: grpc.ServicerContext) -> Any:
        call, code = MeasuredCall(), OK
        token = CURRENT_CALL.set(call)
        try:
            return behaviour(request, context)
        except BaseException:
            code = context.code() or grpc.StatusCode.UNKNOWN
            raise
        finally:
            CURRENT_CALL.reset(token)
            model = find_model(request) if api == MULTI_INFERENCE else request.model_spec.name
            self._add(call, model, api, ENTRYPOINT, code)


def find_model(request: Any) -> str:
    """Of several tasks, the first one's."""
    return str(request.tasks[0].model_spec.name) if request.tasks else ""
