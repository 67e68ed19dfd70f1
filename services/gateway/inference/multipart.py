"""Several files in one ``multipart/form-data`` body (RFC 7578): a label for each, in order.

A file that is no image or text fails alone: its entry says why, and the others have their labels. Of a model with
several inputs, a form is one row instead (``form_row``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, g
from flask.globals import request_ctx
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from modelyard.models.errors import ModelyardError
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.types import Array
from modelyard.services.gateway.codecs import explanations, response
from modelyard.services.gateway.codecs.inputs import check_contents, check_inputs, check_pixels
from modelyard.services.gateway.codecs.named import form_row
from modelyard.services.gateway.codecs.request import (
    RAW_TYPES,
    PredictCall,
    accepted_types,
    find_form_signature,
    find_raw_signature,
    input_kind,
)
from modelyard.services.gateway.codecs.response import describe_rows, encode_json, select_outputs
from modelyard.services.gateway.codecs.tensors import check_output_types, to_strings
from modelyard.services.gateway.codecs.uncertainty import refuse_atypical, require_typical
from modelyard.services.gateway.http.body import CHUNK_BYTES, find_limit
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.errors import BodyTooLarge, InvalidOutput, InvalidRequest, UnsupportedType
from modelyard.services.gateway.http.headers import JSON_HEADERS, MULTIPART, Headers, media_parameters
from modelyard.services.gateway.http.paths import Servable
from modelyard.services.gateway.inference.bisect import run_bisected
from modelyard.services.gateway.inference.prediction import Predictions
from modelyard.services.gateway.serving.batching.calls import UNRELATED_TO_ROWS
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.serving.predictor import Predictor
from modelyard.services.gateway.settings import GatewaySettings

SHOWN_CHARS = 200
MAX_HEADER_BYTES = 16 * 1024
"""Of one part, or of what stands before the first one."""
MAX_BOUNDARY = 100
"""RFC 2046, section 5.1.1 allows 70, but clients exist that now and then exceed it, Werkzeug among them."""

Entry = dict[str, Any] | ModelyardError
"""A file's label and scores, or why it has none."""


@dataclass(frozen=True)
class Upload:
    """One part of the form."""

    name: str
    """Of the file, else of the form's field."""
    field: str
    content: bytes


def respond(predictions: Predictions, servable: Servable) -> Response:
    """One entry per file: its label and scores, or its error.

    Raises:
        UnsupportedType: the model takes neither images nor texts.
        InvalidRequest: not a form, no files or too many, or none of them can be used.
        BodyTooLarge: all files together.
    """
    headers, interface, deadline = predictions.wait_for_interface(servable)
    interface, limits, predictor = interface.pin(), predictions.limits, predictions.predictor
    if (named := find_form_signature(interface)) is not None:
        return respond_to_row(predictions, interface, named, headers, deadline)
    signature = find_raw_signature(interface)
    if signature is None or input_kind(interface) not in RAW_TYPES.values():
        raise UnsupportedType(f"expected {accepted_types(interface)}; received {MULTIPART}")
    body, boundary = predictions.read_body(find_limit(limits, "max_tensor_bytes")), parse_boundary(headers)
    form = (body, boundary, signature, interface)
    uploads, checked = predictor.wait_for(predictions.decode_body(deadline, len(body), read_form, *form))
    good = to_strings([content for content in checked if isinstance(content, bytes)])
    name = interface.signatures[signature].inputs[0].name
    explain = explanations.choose(request_ctx.request.args, signature, {name: good}, "scores", interface)
    labelled = iter(
        predictor.wait_for(label_contents(good, signature, interface, predictor, deadline)) if len(good) else []
    )
    entries = [next(labelled) if isinstance(content, bytes) else content for content in checked]
    if explain:
        entries = explain_entries(entries, checked, signature, predictions, interface, deadline, headers)
    errors = [entry for entry in entries if isinstance(entry, ModelyardError)]
    if len(errors) == len(entries):
        raise errors[0]
    body_entries = [{"file": name} | encode_entry(entry) for name, entry in zip(uploads, entries, strict=True)]
    return Response(encode_json(body_entries), headers=JSON_HEADERS)


def respond_to_row(
    predictions: Predictions, interface: Interface, signature: str, headers: Headers, deadline: Deadline
) -> Response:
    """The response to a form that holds the inputs of one row, each in the part of its name."""
    limits, predictor = predictions.limits, predictions.predictor
    check_output_types(interface.signatures[signature])
    body, boundary = predictions.read_body(find_limit(limits, "max_tensor_bytes")), parse_boundary(headers)
    inputs = predictor.wait_for(
        predictions.decode_body(deadline, len(body), read_row, body, boundary, signature, interface)
    )
    explain = explanations.choose(request_ctx.request.args, signature, inputs, "labelled", interface)
    outputs = predictor.wait_for(predictor.predict(interface, signature, inputs, deadline))
    predictor.capture.sample(g.record.request_id, interface, inputs, outputs, headers)
    why = None
    if explain:
        require_typical(select_outputs(outputs, signature, interface), interface)
        why = predictor.wait_for(predictions.explain(interface, signature, inputs, deadline, headers))
    call = PredictCall(signature=signature, inputs={}, form="labelled", explanation=why)
    response_headers, content = response.encode(call, outputs, interface, g.record.request_id)
    return Response(content, headers=response_headers)


def read_row(
    body: bytes, boundary: bytes, signature: str, interface: Interface, limits: GatewaySettings
) -> dict[str, Array]:
    """A form's row, one array per input; raises as ``parse_uploads`` and ``form_row.decode``."""
    table = interface.tables[signature]
    uploads = parse_uploads(body, boundary, max(limits.max_files, len(table.columns)))
    inputs = form_row.decode([(upload.field, upload.content) for upload in uploads], table, limits)
    check_inputs(inputs, signature, interface, limits)
    return inputs


def encode_entry(entry: Entry) -> dict[str, Any]:
    return {"error": str(entry)} if isinstance(entry, ModelyardError) else entry


def explain_entries(
    entries: list[Entry],
    checked: list[bytes | ModelyardError],
    signature: str,
    predictions: Predictions,
    interface: Interface,
    deadline: Deadline,
    headers: Headers,
) -> list[Entry]:
    """The entries, those of labelled files with their explanations."""
    labelled = [place for place, entry in enumerate(entries) if not isinstance(entry, ModelyardError)]
    if not labelled:
        return entries
    name = interface.signatures[signature].inputs[0].name
    contents = to_strings([content for place in labelled if isinstance(content := checked[place], bytes)])
    work = predictions.explain(interface, signature, {name: contents}, deadline, headers)
    outputs = predictions.predictor.wait_for(work)
    found = dict(zip(labelled, explanations.describe(outputs, interface), strict=True))
    return [
        entry if isinstance(entry, ModelyardError) else entry | {"explanation": found[place]}
        for place, entry in enumerate(entries)
    ]


# --- the form ---------------------------------------------------------------------------------------------------------


def read_form(
    body: bytes, boundary: bytes, signature: str, interface: Interface, limits: GatewaySettings
) -> tuple[list[str], list[bytes | ModelyardError]]:
    """Names of a form's parts, and the content of each or what makes it useless.

    Raises:
        InvalidRequest: as ``parse_uploads``, or the images have too many pixels together.
    """
    uploads = parse_uploads(body, boundary, limits.max_files)
    checked = [check_upload(upload, signature, interface, limits) for upload in uploads]
    check_together([content for content in checked if isinstance(content, bytes)], signature, interface, limits)
    return [upload.name for upload in uploads], checked


def check_together(
    contents: list[bytes], signature: str, interface: Interface, limits: GatewaySettings, name: str = "files"
) -> None:
    """Raises ``InvalidRequest`` for contents that are not of the input's kind, or have too many pixels together."""
    (spec,) = interface.signatures[signature].inputs
    known = interface.find_limits(signature, spec.name)
    if known is not None:
        check_pixels(name, check_contents(name, to_strings(contents), known), limits)


def parse_boundary(headers: Headers) -> bytes:
    boundary = media_parameters(headers).get("boundary", "")
    if not 0 < len(boundary) <= MAX_BOUNDARY or not boundary.isascii():
        raise InvalidRequest(
            f"Content-Type: expected multipart/form-data with a boundary of 1 to {MAX_BOUNDARY} characters"
        )
    return boundary.encode()


def parse_uploads(body: bytes, boundary: bytes, max_files: int) -> list[Upload]:
    """The parts of a form, in order; raises ``InvalidRequest`` if it is malformed, or their number is out of range."""
    # What it keeps for lack of an end it looks through again with each chunk: a long header would take it seconds.
    decoder = MultipartDecoder(boundary, max_form_memory_size=MAX_HEADER_BYTES + CHUNK_BYTES, max_parts=max_files)
    found: list[tuple[str, str, list[bytes]]] = []
    chunks = iter([body[start : start + CHUNK_BYTES] for start in range(0, len(body), CHUNK_BYTES)])
    try:
        while not isinstance(event := decoder.next_event(), Epilogue):
            if isinstance(event, NeedData):
                decoder.receive_data(next(chunks, None))
            elif isinstance(event, File | Field):
                filename = event.filename if isinstance(event, File) else event.name
                found.append(((filename or "")[:SHOWN_CHARS], event.name or "", []))
            elif isinstance(event, Data):
                found[-1][2].append(event.data)
    except RequestEntityTooLarge:
        if len(found) < max_files:
            limit = f"expected headers of at most {MAX_HEADER_BYTES} bytes, received longer ones"
            raise InvalidRequest(f"malformed multipart/form-data: {limit}") from None
        raise InvalidRequest(f"expected at most {max_files} files, received more") from None
    except (ValueError, LookupError) as error:
        raise InvalidRequest(f"malformed multipart/form-data: {error}"[:SHOWN_CHARS]) from None
    if not found:
        raise InvalidRequest(f"expected 1 to {max_files} files, received none")
    return [Upload(name, field, b"".join(parts)) for name, field, parts in found]


def check_upload(
    upload: Upload, signature: str, interface: Interface, limits: GatewaySettings
) -> bytes | ModelyardError:
    """The content, or the error that makes it useless."""
    limit = find_limit(limits, "max_image_bytes" if input_kind(interface) == "image" else "max_json_bytes")
    if len(upload.content) > limit.max_bytes:
        return BodyTooLarge(limit.describe(len(upload.content), "a file"))
    try:
        name = interface.signatures[signature].inputs[0].name
        check_together([upload.content], signature, interface, limits, name)
    except InvalidRequest as refused:
        return refused
    return upload.content


# --- the labels -------------------------------------------------------------------------------------------------------


async def label_contents(
    contents: Array, signature: str, interface: Interface, predictor: Predictor, deadline: Deadline
) -> list[Entry]:
    """An entry per content; raises ``ServingFailed`` where the model server could not be called."""
    name = interface.signatures[signature].inputs[0].name

    async def run(rows: Mapping[str, Array]) -> dict[str, Array]:
        outputs = await predictor.predict(interface, signature, rows, deadline)
        found = select_outputs(outputs, signature, interface)
        if any(len(array) != len(rows[name]) for array in found.values()):
            raise InvalidOutput("the model did not return one row for each file")
        return found

    entries: list[Entry] = []
    for part in await run_bisected(run, {name: contents}, len(contents)):
        if isinstance(part.result, ServingFailed) and part.result.code in UNRELATED_TO_ROWS:
            raise part.result
        if isinstance(part.result, ModelyardError):
            entries += [part.result] * part.size
        else:
            rows = describe_rows(part.result, signature, interface)
            entries += refuse_atypical(rows, part.result, interface)
    return entries
