"""Descriptions of the inference protocols' views. The management API's views describe themselves."""

from collections.abc import Mapping

from pydantic import BaseModel

from modelyard.services.gateway.http.operation import (
    CONTENT_ENCODING,
    JSON,
    MODEL_SERVER_ERRORS,
    Contents,
    Operation,
    Parameter,
)
from modelyard.services.gateway.openapi import v1, v2

LINES = ("application/jsonl", "application/x-ndjson", "application/jsonlines")
TIMEOUT = Parameter("X-Timeout-Ms", "header", "Time limit; 30000 at most.", {"type": "integer", "minimum": 1})
REQUEST_CLASS = Parameter(
    "X-Request-Class", "header", "Behind everything that is not bulk.", {"enum": ["interactive", "bulk"]}
)
ROLLOUT_KEY = Parameter(
    "X-Rollout-Key", "header", "Identifies the user: equal keys get the same version.", {"type": "string"}
)
CAPTURE = Parameter(
    "X-Capture", "header", "Whether to keep the prediction for feedback; a sample unless said.", {"enum": ["yes", "no"]}
)
BINARY_HEADER = Parameter(
    "Inference-Header-Content-Length", "header", "Where JSON ends and binary tensors begin.", {"type": "integer"}
)
LABELS = Parameter(
    "labels",
    "query",
    "Return rows in words: labels, numbers by name, or texts; `scores`: with every label's score, and outputs by name "
    "where there are no words.",
    {"enum": ["true", "false", "scores"]},
)
EXPLAIN = Parameter(
    "explain",
    "query",
    "Add why to each row in words: what each word, pixel or column adds to the score of the answer. Up to 8 inputs; "
    "each costs as much as dozens of answers.",
    {"enum": ["1", "0", "true", "false"]},
)
SIGNATURE = Parameter("signature_name", "query", "Another signature than the default one.", {"type": "string"})


def json_response(schema: type[BaseModel], status: int = 200) -> dict[int, Contents]:
    return {status: {JSON: schema}}


def examples_operation(summary: str, schema: type[BaseModel]) -> Operation:
    """Classify and regress."""
    return Operation(
        summary,
        json_response(schema),
        request_bodies={JSON: v1.ExamplesRequest},
        parameters=(TIMEOUT, ROLLOUT_KEY, CONTENT_ENCODING),
        errors=(*MODEL_SERVER_ERRORS, 415),
        versioned=True,
    )


REPOSITORY_CHANGE = Operation("Not here: what is loaded follows from rollouts.", {}, errors=(501,))

PROTOCOLS: Mapping[str, Operation] = {
    "predict.predict": Operation(
        "Predict: rows, columns, an image or a text as it is, several files, a form with a row, a table, or any number "
        "of lines. GET /api/models/NAME has an example for each model.",
        {200: {JSON: v1.PredictResponse, "text/csv": None} | dict.fromkeys(LINES)},
        request_bodies={JSON: v1.PredictRequest}
        | dict.fromkeys(("image/png", "image/jpeg", "text/plain", "text/csv", *LINES))
        | {"multipart/form-data": None},
        parameters=(TIMEOUT, REQUEST_CLASS, ROLLOUT_KEY, CAPTURE, CONTENT_ENCODING, LABELS, EXPLAIN, SIGNATURE),
        errors=(*MODEL_SERVER_ERRORS, 415),
        versioned=True,
    ),
    "examples.classify": examples_operation("Classify examples.", v1.Classes),
    "examples.regress": examples_operation("Regress examples.", v1.Values),
    "tfs.status": Operation("State of versions.", json_response(v1.ModelStatus), errors=MODEL_SERVER_ERRORS),
    "tfs.metadata": Operation(
        "Signatures of a version.", json_response(v1.ModelMetadata), errors=MODEL_SERVER_ERRORS, versioned=True
    ),
    "v2.infer": Operation(
        "Infer: tensors in JSON, or in binary behind it.",
        {200: {JSON: v2.InferResponse, "application/octet-stream": None}},
        request_bodies={JSON: v2.InferRequest, "application/octet-stream": None},
        parameters=(TIMEOUT, ROLLOUT_KEY, CAPTURE, CONTENT_ENCODING, BINARY_HEADER),
        errors=(*MODEL_SERVER_ERRORS, 415),
        versioned=True,
    ),
    "v2.metadata": Operation(
        "Inputs and outputs of a signature.",
        json_response(v2.V2Metadata),
        parameters=(SIGNATURE,),
        errors=MODEL_SERVER_ERRORS,
        versioned=True,
    ),
    "v2.model_ready": Operation(
        "Whether a version would answer.",
        json_response(v2.ModelReady) | json_response(v2.ModelNotReady, 503),
        errors=MODEL_SERVER_ERRORS,
        versioned=True,
    ),
    "v2.server": Operation("Name and extensions of the server.", json_response(v2.Server)),
    "v2.live": Operation("Whether the process answers.", json_response(v2.Live)),
    "v2.ready": Operation(
        "Whether predictions would be answered.", json_response(v2.V2Ready) | json_response(v2.V2NotReady, 503)
    ),
    "v2.index": Operation(
        "Every version that the model server has heard of.",
        json_response(v2.Index),
        request_bodies={JSON: v2.IndexRequest},
        body_required=False,
        parameters=(CONTENT_ENCODING,),
        errors=(*MODEL_SERVER_ERRORS, 415),
    ),
    "v2.load": REPOSITORY_CHANGE,
    "v2.unload": REPOSITORY_CHANGE,
}
"""By endpoint: views whose bodies codecs write, byte by byte."""
