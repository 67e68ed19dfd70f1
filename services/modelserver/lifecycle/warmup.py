"""Replays recorded requests through a version before it answers, so that no client waits for its first runs.

Rules as in tensorflow/serving ``servables/tensorflow/saved_model_warmup_util.cc``: a missing file is fine; a file that
cannot be read, more than 1000 records or a failing request fails the load.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from modelyard.models.tfserving.messages import prediction_log_pb2
from modelyard.services.modelserver.errors import Refused
from modelyard.services.modelserver.inference.classify import classify
from modelyard.services.modelserver.inference.multi_inference import run_multi_inference
from modelyard.services.modelserver.inference.predict import predict
from modelyard.services.modelserver.inference.regress import regress
from modelyard.services.modelserver.runtime.servable import RequestOptions, Servable, never_cancelled

FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000
EXPLANATIONS = ("explain", "explain_bytes")
"""Signatures of which no answer waits: they cost as much to prepare as all others together."""
METHODS: dict[str, Callable[[Servable, Any, RequestOptions, Callable[[], None]], Any]] = {
    "predict_log": predict,
    "classify_log": classify,
    "regress_log": regress,
    "multi_inference_log": run_multi_inference,
}
"""Functions that replay a ``PredictionLog``, by its kind; other kinds cannot be replayed."""


@dataclass(frozen=True)
class WarmUp:
    """The recorded requests of a version."""

    servable: Servable
    requests: Sequence[prediction_log_pb2.PredictionLog]
    options: RequestOptions
    times: int = 1

    def replay(self, *, explaining: bool) -> int:
        """Replays those that explain answers, or all others, so many times, and returns their number.

        Raises:
            Refused: the version refuses one.
        """
        found = [(place, each) for place, each in enumerate(self.requests) if asks_to_explain(each) is explaining]
        for place, each in found:
            for _ in range(self.times):
                _replay(self.servable, each, place, self.options)
        return len(found)


def read_requests(records: Iterable[bytes]) -> list[prediction_log_pb2.PredictionLog]:
    """Reads records, each a ``PredictionLog``.

    Raises:
        Refused: there are too many, or one cannot be read.
    """
    found = list(_parsed(islice(records, MAX_RECORDS + 1)))
    if len(found) > MAX_RECORDS:
        raise Refused(
            grpc.StatusCode.INVALID_ARGUMENT, f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {FILE}"
        )
    return found


def asks_to_explain(request: prediction_log_pb2.PredictionLog) -> bool:
    return request.predict_log.request.model_spec.signature_name in EXPLANATIONS


def _parsed(records: Iterable[bytes]) -> Iterator[prediction_log_pb2.PredictionLog]:
    for position, record in enumerate(records):
        try:
            yield prediction_log_pb2.PredictionLog.FromString(record)
        except DecodeError as error:
            message = f"Failed to parse warmup record {position} from {FILE}: {error}"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, message) from error


def _replay(servable: Servable, log: prediction_log_pb2.PredictionLog, position: int, options: RequestOptions) -> None:
    kind = log.WhichOneof("log_type")
    if kind not in METHODS:
        message = f"Unsupported log_type {kind} for warmup, record {position}"
        raise Refused(grpc.StatusCode.UNIMPLEMENTED, message)
    try:
        METHODS[kind](servable, getattr(log, kind).request, options, never_cancelled)
    except Refused as refusal:
        raise Refused(refusal.code, f"warmup record {position} failed: {refusal}") from refusal
