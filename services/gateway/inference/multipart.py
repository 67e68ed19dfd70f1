"""Several files in one ``multipart/form-data`` body (RFC 7578): a label for each, in order.

A file that is no image or text fails alone: its entry says why, and the others have their answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Request, Response
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from modelyard.models.errors import ModelyardError
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.models.types import Array
from modelyard.services.gateway.codecs import labels
from modelyard.services.gateway.codecs import request as payload
from modelyard.services.gateway.codecs import response as answers
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.errors import (
    BodyTooLarge,
    InvalidOutput,
    InvalidRequest,
    UnsupportedType,
)
from modelyard.services.gateway.inference import bisect as halves
from modelyard.services.gateway.serving.batching import NOT_THE_BATCH
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.serving.predictor import Serving
from modelyard.services.gateway.settings import GatewaySettings

TYPE = "multipart/form-data"
SHOWN_CHARS = 200
MOST_BOUNDARY = 100
"""RFC 2046, section 5.1.1 allows 70, but clients exist that now and then exceed it, Werkzeug among them."""

Entry = dict[str, Any] | ModelyardError
"""A file's label and scores, or why it has none."""
PIECE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Upload:
    """One part of the form."""

    name: str
    """Of the file, else of the form's field."""
    content: bytes


def answer(
    request: Request, interface: Interface, limits: GatewaySettings, serving: Serving, until: Deadline
) -> Response:
    """One entry per file: its label and scores, or its error.

    Raises:
        UnsupportedType: the model takes neither images nor texts.
        InvalidRequest: not a form, no files or too many, or none of them can be used.
        BodyTooLarge: all files together.
    """
    signature = payload.raw_signature(interface)
    if signature is None or payload.kind_of(interface) not in payload.RAW_TYPES.values():
        raise UnsupportedType(f"expected {payload.accepted(interface)}; received {TYPE}")
    uploads = uploads_of(payload.read(request, limits.max_tensor_bytes), boundary_of(request), limits.max_parts)
    found = [checked(upload, signature, interface, limits) for upload in uploads]
    good = column([content for content in found if isinstance(content, bytes)])
    payload.check_contents("files", good, interface, limits.max_batch_pixels)
    labelled = iter(serving.wait_for(labels_of(good, signature, interface, serving, until)) if len(good) else [])
    entries = [next(labelled) if isinstance(content, bytes) else content for content in found]
    refused = [entry for entry in entries if isinstance(entry, ModelyardError)]
    if len(refused) == len(entries):
        raise refused[0]
    named = [{"file": upload.name} | shown(entry) for upload, entry in zip(uploads, entries, strict=True)]
    return Response(answers.dumped(named), mimetype="application/json")


def shown(entry: Entry) -> dict[str, Any]:
    return {"error": str(entry)} if isinstance(entry, ModelyardError) else entry


# --- the form ---------------------------------------------------------------------------------------------------------


def boundary_of(request: Request) -> bytes:
    boundary = request.mimetype_params.get("boundary", "")
    if not 0 < len(boundary) <= MOST_BOUNDARY or not boundary.isascii():
        raise InvalidRequest(
            f"Content-Type: expected multipart/form-data with a boundary of 1 to {MOST_BOUNDARY} characters"
        )
    return boundary.encode()


def uploads_of(body: bytes, boundary: bytes, most: int) -> list[Upload]:
    """The parts of a form, in order; raises ``InvalidRequest`` if it is malformed, or their number is not 1 to most."""
    decoder = MultipartDecoder(boundary, max_parts=most)
    found: list[tuple[str, list[bytes]]] = []
    pieces = iter([body[start : start + PIECE_BYTES] for start in range(0, len(body), PIECE_BYTES)])
    try:
        while not isinstance(event := decoder.next_event(), Epilogue):
            if isinstance(event, NeedData):
                decoder.receive_data(next(pieces, None))
            elif isinstance(event, File | Field):
                filename = event.filename if isinstance(event, File) else event.name
                found.append(((filename or "")[:SHOWN_CHARS], []))
            elif isinstance(event, Data):
                found[-1][1].append(event.data)
    except RequestEntityTooLarge:
        raise InvalidRequest(f"expected at most {most} files, received more") from None
    except (ValueError, LookupError) as error:
        raise InvalidRequest(f"malformed multipart/form-data: {error}"[:SHOWN_CHARS]) from None
    if not found:
        raise InvalidRequest(f"expected 1 to {most} files, received none")
    return [Upload(name, b"".join(parts)) for name, parts in found]


def checked(upload: Upload, signature: str, interface: Interface, limits: GatewaySettings) -> bytes | ModelyardError:
    """The content, or why it cannot be used."""
    most = limits.max_image_bytes if payload.kind_of(interface) == "image" else limits.max_json_bytes
    if len(upload.content) > most:
        return BodyTooLarge(f"expected a file of at most {most} bytes, received {len(upload.content)}")
    try:
        name = interface.signatures[signature].inputs[0].name
        payload.check_contents(name, column([upload.content]), interface, limits.max_batch_pixels)
    except InvalidRequest as refused:
        return refused
    return upload.content


# --- the answers ------------------------------------------------------------------------------------------------------


async def labels_of(
    contents: Array, signature: str, interface: Interface, serving: Serving, until: Deadline
) -> list[Entry]:
    """An entry per content; raises ``ServingFailed`` where the model server could not be asked."""
    name = interface.signatures[signature].inputs[0].name

    async def run(rows: Mapping[str, Array]) -> dict[str, Array]:
        outputs = await serving.predicted(interface, signature, rows, until)
        found = answers.found_in(outputs, signature, interface)
        if any(len(array) != len(rows[name]) for array in found.values()):
            raise InvalidOutput("the model did not return an answer for each file")
        return found

    entries: list[Entry] = []
    for part in await halves.asked(run, {name: contents}, len(contents)):
        if isinstance(part.found, ServingFailed) and part.found.code in NOT_THE_BATCH:
            raise part.found
        if isinstance(part.found, ModelyardError):
            entries += [part.found] * part.size
        else:
            entries += labels.with_scores(part.found, interface)
    return entries


def column(contents: list[bytes]) -> Array:
    """An object array of ``bytes``, shape [n]."""
    array = np.empty(len(contents), dtype=object)
    array[:] = contents
    return array
