"""Answers of predictions: named arrays to bytes, in the form that was asked for."""

from collections.abc import Mapping
from typing import Any

import orjson
from flask import Response

from modelyard.models.types import Array
from modelyard.services.gateway.codecs import csv_rows as csv_form
from modelyard.services.gateway.codecs import labels
from modelyard.services.gateway.codecs import tfs_json as json_form
from modelyard.services.gateway.codecs.request import Decoded
from modelyard.services.gateway.codecs.tensors import checked
from modelyard.services.gateway.serving.batching import Outputs
from modelyard.services.gateway.serving.interface import Interface


def encode(decoded: Decoded, outputs: Outputs, interface: Interface, request_id: str) -> Response:
    """The answer to one request; raises as ``content``."""
    mimetype = csv_form.TYPE if decoded.form == "csv" else "application/json"
    return Response(content(decoded, outputs, interface, request_id), mimetype=mimetype)


def content(decoded: Decoded, outputs: Outputs, interface: Interface, request_id: str) -> bytes:
    """The body of the answer.

    Raises:
        InvalidOutput: the model's answer is not what its interface says, or not finite.
        InvalidRequest: the outputs have no rows, but the row form was asked for.
    """
    found = found_in(outputs, decoded.signature, interface)
    if decoded.form == "csv":
        return as_csv(found, decoded.signature, interface).encode()
    body: Any
    if decoded.form == "row":
        body = {"predictions": json_form.rows(found)}
    elif decoded.form == "column":
        body = {"outputs": json_form.columns(found)}
    elif decoded.form == "labels":
        body = {"predictions": labels.labelled(found, interface)}
    else:
        body = one_labelled(found, interface, outputs.version, request_id)
    return dumped(body)


def found_in(outputs: Mapping[str, Array], signature: str, interface: Interface) -> dict[str, Array]:
    """What the signature answers, looked at; of models that are not ours, shapes are theirs to choose."""
    ours = interface.input is not None
    return {spec.name: checked(spec, outputs, shaped=ours) for spec in interface.signatures[signature].outputs}


def as_csv(found: Mapping[str, Array], signature: str, interface: Interface) -> str:
    if labels.has(interface, signature):
        return csv_form.encode_labels(labels.labelled(found, interface))
    json_form.check_rows(found)
    return csv_form.encode(found)


def one_labelled(found: Mapping[str, Array], interface: Interface, version: int, request_id: str) -> dict[str, Any]:
    """The answer to one raw image or text: the likeliest label and every label's score."""
    label = labels.with_scores(found, interface)[0]
    source = {"data": interface.source, "request_id": request_id}
    return {"model": interface.model, "version": version} | label | source


def dumped(body: Any) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
