"""Responses of the Open Inference Protocol V2: named arrays to JSON, and binary tensors behind it."""

from typing import Any

import orjson

from modelyard.services.gateway.codecs.oip.binary import datatype, to_binary
from modelyard.services.gateway.codecs.oip.json_data import to_data
from modelyard.services.gateway.codecs.oip.request import HEADER, InferCall
from modelyard.services.gateway.codecs.tensors import check_output
from modelyard.services.gateway.http.headers import JSON_HEADERS, HeaderList
from modelyard.services.gateway.serving.batching.calls import Outputs
from modelyard.services.gateway.serving.interface import Interface


def encode(call: InferCall, outputs: Outputs, interface: Interface) -> tuple[HeaderList, bytes]:
    """Headers and body: the requested outputs, each in its form. The client's id comes back.

    Raises:
        InvalidOutput: the outputs are not as the interface declares them, or not finite.
        InvalidRequest: a string that only the binary form can carry.
    """
    entries, tails = [], []
    for requested in call.outputs:
        array = check_output(requested.spec, outputs)
        entry = {"name": requested.spec.name, "datatype": datatype(requested.spec), "shape": array.shape}
        if requested.binary:
            tails.append(to_binary(array))
            entries.append(entry | {"parameters": {"binary_data_size": len(tails[-1])}})
        else:
            entries.append(entry | {"data": to_data(requested.spec.name, array)})
    named = {"model_name": interface.model, "model_version": str(outputs.version)}
    return join_parts(named | ({} if call.id is None else {"id": call.id}) | {"outputs": entries}, tails)


def join_parts(head: dict[str, Any], tails: list[Any]) -> tuple[HeaderList, bytes]:
    """JSON alone, or JSON with its length in a header and the binary tensors behind it."""
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    if not tails:
        return JSON_HEADERS, text
    return [("content-type", "application/octet-stream"), (HEADER.lower(), str(len(text)))], b"".join([text, *tails])
