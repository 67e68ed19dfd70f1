"""Responses of ``:predict``: named arrays to bytes, in the requested form."""

import math
from collections.abc import Mapping
from typing import Any

import orjson

from modelyard.models.types import Array
from modelyard.services.gateway.codecs import csv_rows, explanations, labels, tfs_json
from modelyard.services.gateway.codecs.request import PredictCall
from modelyard.services.gateway.codecs.tensors import check_output, to_json
from modelyard.services.gateway.codecs.uncertainty import describe_rows as describe_uncertainty
from modelyard.services.gateway.codecs.uncertainty import require_typical, split_uncertainty
from modelyard.services.gateway.http.headers import JSON_HEADERS, HeaderList
from modelyard.services.gateway.serving.batching.calls import Outputs
from modelyard.services.gateway.serving.interface import Interface

QUICK_BYTES = 128 * 1024
QUICK_STRINGS = 2048
"""Outputs up to so many bytes and strings are written in 10 ms at most."""
IN_WORDS = ("labels", "scores", "labelled", "csv")
"""Forms that are not TensorFlow Serving's: a model may refuse an input there."""
CSV_HEADERS: HeaderList = [("content-type", f"{csv_rows.TYPE}; charset=utf-8")]


def encode(call: PredictCall, outputs: Outputs, interface: Interface, request_id: str) -> tuple[HeaderList, bytes]:
    """Headers and body.

    Raises:
        InvalidOutput: the outputs are not as the interface declares them, or not finite.
        InvalidRequest: the outputs have no rows, but the row form was requested.
        AtypicalInput: an input is not typical, and the model refuses those.
    """
    found = select_outputs(outputs, call.signature, interface)
    if call.form in IN_WORDS:
        require_typical(found, interface)
    if call.form == "csv":
        return CSV_HEADERS, encode_csv(found, call.signature, interface).encode()
    body: Any
    if call.form == "row":
        body = {"predictions": tfs_json.encode_rows(found)}
    elif call.form == "column":
        body = {"outputs": tfs_json.encode_columns(found)}
    elif call.form == "labels":
        rows = labels.label_rows(found, interface, call.signature)
        body = {"predictions": explanations.attach(rows, call, interface)}
    elif call.form == "scores":
        rows = describe_rows(found, call.signature, interface)
        body = {"predictions": explanations.attach(rows, call, interface)}
    else:
        single = label_single(found, call.signature, interface, outputs.version, request_id)
        (body,) = explanations.attach([single], call, interface)
    return JSON_HEADERS, encode_json(body)


def is_quick_to_write(outputs: Mapping[str, Array]) -> bool:
    """Whether writing these outputs, in whatever form, does not take long."""
    size = 0
    for array in outputs.values():
        if array.dtype.kind == "O" and array.size > QUICK_STRINGS:
            return False
        size += array.nbytes or array.itemsize * count_empty_rows(array)
    return size <= QUICK_BYTES


def count_empty_rows(array: Array) -> int:
    """Rows without any numbers in them are written, too."""
    return math.prod(max(1, length) for length in array.shape)


def select_outputs(outputs: Mapping[str, Array], signature: str, interface: Interface) -> dict[str, Array]:
    """The signature's outputs, checked; shapes only of published versions, not of external models."""
    ours, finite = interface.input is not None, getattr(outputs, "finite", False)
    specs = interface.signatures[signature].outputs
    return {spec.name: check_output(spec, outputs, shaped=ours, finite=finite) for spec in specs}


def encode_csv(found: Mapping[str, Array], signature: str, interface: Interface) -> str:
    if labels.has_labels(interface, signature):
        return csv_rows.write_rows(labels.tabulate(found, interface, signature))
    tfs_json.check_rows(found)
    return csv_rows.encode(found)


def label_single(
    found: Mapping[str, Array], signature: str, interface: Interface, version: int, request_id: str
) -> dict[str, Any]:
    """The response to one raw image or text, or to one row of a form."""
    source = {"data": interface.source, "request_id": request_id}
    return {"model": interface.model, "version": version} | describe_rows(found, signature, interface)[0] | source


def describe_rows(found: Mapping[str, Array], signature: str, interface: Interface) -> list[dict[str, Any]]:
    """Each row in words with every score; where outputs have no words, ``outputs`` by name. Both with uncertainty."""
    if labels.has_labels(interface, signature):
        return labels.score_rows(found, interface, signature)
    tfs_json.check_rows(found)
    answers, said = split_uncertainty(found, interface)
    values = {name: to_json(name, array) for name, array in answers.items()}
    rows = [{"outputs": dict(zip(values, row, strict=True))} for row in zip(*values.values(), strict=True)]
    return [row | more for row, more in zip(rows, describe_uncertainty(said, interface), strict=True)] if said else rows


def encode_json(body: Any) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
