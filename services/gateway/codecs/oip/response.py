"""Answers of the Open Inference Protocol V2: named arrays to JSON, and binary tensors behind it."""

from typing import Any

import orjson
from flask import Response

from modelyard.services.gateway.codecs.oip import binary as v2_binary
from modelyard.services.gateway.codecs.oip.json_data import to_data
from modelyard.services.gateway.codecs.oip.request import HEADER, Asked
from modelyard.services.gateway.codecs.tensors import checked
from modelyard.services.gateway.serving.batching import Outputs
from modelyard.services.gateway.serving.interface import Interface


def answer(asked: Asked, outputs: Outputs, interface: Interface) -> Response:
    """The answer to one request; raises as ``written``."""
    headers, body = written(asked, outputs, interface)
    return Response(body, headers=headers)


def written(asked: Asked, outputs: Outputs, interface: Interface) -> tuple[list[tuple[str, str]], bytes]:
    """The outputs asked for, each in its form: headers and body. The caller's id comes back.

    Raises:
        InvalidOutput: the model's answer is not what its interface says, or not finite.
        InvalidRequest: a string that only the binary form can carry.
    """
    entries, tails = [], []
    for wanted in asked.outputs:
        array = checked(wanted.spec, outputs)
        entry = {"name": wanted.spec.name, "datatype": v2_binary.datatype(wanted.spec), "shape": array.shape}
        if wanted.binary:
            tails.append(v2_binary.to_binary(array))
            entries.append(entry | {"parameters": {"binary_data_size": len(tails[-1])}})
        else:
            entries.append(entry | {"data": to_data(wanted.spec.name, array)})
    named = {"model_name": interface.model, "model_version": str(outputs.version)}
    return rendered(named | ({} if asked.id is None else {"id": asked.id}) | {"outputs": entries}, tails)


def rendered(head: dict[str, Any], tails: list[Any]) -> tuple[list[tuple[str, str]], bytes]:
    """JSON alone, or JSON with its length in a header and the binary tensors behind it."""
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    if not tails:
        return [("content-type", "application/json")], text
    return [("content-type", "application/octet-stream"), (HEADER.lower(), str(len(text)))], b"".join([text, *tails])
