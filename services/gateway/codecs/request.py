"""Requests of ``:predict``: a body to named arrays. What is valid follows from the interface; no model is known here.

A body is TensorFlow Serving's JSON, rows as CSV, or one image or text as it is; the responses to the latter name
labels. Several files, or the inputs of one row, come as ``multipart``, and any number of inputs as ``bulk``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from modelyard.models.registry.manifest import NamedLimits
from modelyard.services.gateway.codecs import (
    csv_rows,
    explanations,
    images,
    json_syntax,
    labels,
    tfs_json,
    tfs_json_fast,
)
from modelyard.services.gateway.codecs.inputs import ModelCall, check_inputs
from modelyard.services.gateway.codecs.named import csv_table, json_rows
from modelyard.services.gateway.codecs.named.names import list_expected
from modelyard.services.gateway.codecs.tensors import check_output_types
from modelyard.services.gateway.codecs.tfs_json import DEFAULT_SIGNATURE
from modelyard.services.gateway.http.body import HttpRequest, SizeSetting, check_charset, check_size
from modelyard.services.gateway.http.errors import InvalidRequest, UnsupportedType
from modelyard.services.gateway.http.headers import Headers
from modelyard.services.gateway.http.side_process import INLINE_BYTES
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings

FAST_BYTES = 256 * 1024
"""JSON up to this size is tried on the event loop in its commonest form, which takes 3 ms at most."""
JSON_TYPES = frozenset({"", "application/json", "application/x-www-form-urlencoded"})
"""What JSON usually is called; the last one is what ``curl -d`` sends."""
RAW_TYPES = {"image/png": "image", "image/jpeg": "image", "text/plain": "text"}
"""By content type, the kind of input that it is."""
IMAGE_MARKS = (b'"b64"', b'"iVBORw0KGgo', b'"/9j/', b'"data:image/')
"""What JSON with images in base64 has in it."""

ResponseFormat = Literal["row", "column", "labels", "scores", "labelled", "csv"]
"""Of the response: TensorFlow Serving's two; a label per row, or with all scores; the only row's; lines of values."""
Words = Literal["false", "true", "scores"]
"""Values of ``?labels=``: the outputs as they are, rows in words, or whatever there is of either with all scores."""


@dataclass(frozen=True, kw_only=True)
class PredictCall(ModelCall):
    """What to run, on what, and the form of the response."""

    form: ResponseFormat

    @property
    def size(self) -> int:
        """Number of inputs in the batch."""
        return max((len(array) for array in self.inputs.values() if array.shape), default=1)


def choose_size_setting(_: Headers, media_type: str, limits: GatewaySettings) -> SizeSetting:
    """Which setting limits the body of a content type, whatever the model accepts."""
    if RAW_TYPES.get(media_type) == "image" and limits.max_image_bytes > limits.max_json_bytes:
        return "max_image_bytes"
    return "max_json_bytes"


def decode(request: HttpRequest, interface: Interface, limits: GatewaySettings) -> PredictCall:
    """Reads a body, within limits, into the arrays that one signature takes.

    Raises:
        InvalidRequest: with what was expected and what came.
        BodyTooLarge, UnsupportedType: before anything is parsed.
        Unimplemented: JSON for a type that has no such form.
    """
    content_type = request.media_type
    if content_type in JSON_TYPES:
        return decode_json(request, interface, limits)
    if content_type == csv_rows.TYPE and (signature := find_table_signature(interface)):
        return decode_csv(request, signature, interface, limits)
    if RAW_TYPES.get(content_type) == input_kind(interface) and (signature := find_raw_signature(interface)):
        return decode_raw(request, signature, interface, limits)
    check_size(request.body, limits, "max_json_bytes")
    if request.body.removeprefix(json_syntax.BYTE_ORDER_MARK).lstrip()[:1] != b"{":
        raise refuse_type(request, interface)
    return decode_json(request, interface, limits)  # TensorFlow Serving ignores the content type


def decode_quickly(request: HttpRequest, interface: Interface, limits: GatewaySettings) -> PredictCall | None:
    """The commonest of large bodies, in a time that is short whatever they hold; None for the others."""
    if request.media_type not in JSON_TYPES or len(request.body) > FAST_BYTES or interface.tables:
        return None
    return decode_common_json(request, interface, limits)


def decode_common_json(request: HttpRequest, interface: Interface, limits: GatewaySettings) -> PredictCall | None:
    """Rows of numbers, or texts, or named inputs; None for anything else."""
    fast = decode_fast(request.body, interface, limits)
    if fast is None:
        return None
    check_output_types(interface.signatures[DEFAULT_SIGNATURE])
    form = choose_row_format(DEFAULT_SIGNATURE, interface, choose_words(request.query))
    explain = explanations.choose(request.query, DEFAULT_SIGNATURE, fast, form, interface)
    return PredictCall(signature=DEFAULT_SIGNATURE, inputs=fast, form=form, explain=explain)


def decode_json(request: HttpRequest, interface: Interface, limits: GatewaySettings) -> PredictCall:
    words = choose_words(request.query)
    if (common := decode_common_json(request, interface, limits)) is not None:
        return common
    if is_raw(request, interface):
        raise refuse_type(request, interface)
    parsed = tfs_json.parse(request.body, limits)
    signature = tfs_json.find_signature(parsed, interface)
    spec, table = interface.signatures[signature], interface.tables.get(signature)
    check_output_types(spec)
    try:
        if table is not None:
            form, inputs = json_rows.decode(parsed, request.body, table, limits.max_instances)
        else:
            ours = interface.input is not None
            form, inputs = tfs_json.decode_inputs(parsed, spec, limits.max_instances, shaped=ours)
    except InvalidRequest as refused:
        raise InvalidRequest(f"{refused}{hint_at_images(request.body, signature, interface)}") from None
    check_inputs(inputs, signature, interface, limits)
    rows = choose_row_format(signature, interface, words) if form == "row" else form
    explain = explanations.choose(request.query, signature, inputs, rows, interface)
    return PredictCall(signature=signature, inputs=inputs, form=rows, explain=explain)


def decode_fast(body: bytes, interface: Interface, limits: GatewaySettings) -> Mapping[str, np.ndarray] | None:
    """Rows of numbers of a known shape, texts, or few rows of named inputs; None if the body is anything else."""
    table = interface.tables.get(DEFAULT_SIGNATURE)
    if table is not None:
        found = json_rows.decode_quickly(body, table, limits.max_instances) if len(body) <= INLINE_BYTES else None
    else:
        numbers = tfs_json_fast.decode(body, interface, limits.max_instances)
        if numbers is not None:
            if input_kind(interface) == "image":
                check_inputs(numbers, DEFAULT_SIGNATURE, interface, limits)
            return numbers
        found = tfs_json_fast.decode_texts(body, interface, limits.max_instances)
    if found is not None:
        check_inputs(found, DEFAULT_SIGNATURE, interface, limits)
    return found


def decode_csv(request: HttpRequest, signature: str, interface: Interface, limits: GatewaySettings) -> PredictCall:
    """Lines of values; the response is CSV where the client prefers that, with labels where there are some."""
    check_output_types(interface.signatures[signature])
    check_charset(request.headers)
    table = interface.tables.get(signature)
    if table is not None:
        inputs = csv_table.decode(request.body, table, limits)
        check_inputs(inputs, signature, interface, limits)
    else:
        spec = interface.signatures[signature].inputs[0]
        inputs = {spec.name: csv_rows.decode(request.body, spec, limits)}
    accepted = parse_accept_header(request.headers.get("accept"), MIMEAccept)
    preferred = accepted.best_match(["application/json", csv_rows.TYPE])
    rows: ResponseFormat = "labels" if labels.has_labels(interface, signature) else "row"
    form: ResponseFormat = "csv" if preferred == csv_rows.TYPE else rows
    explain = explanations.choose(request.query, signature, inputs, form, interface)
    return PredictCall(signature=signature, inputs=inputs, form=form, explain=explain)


def find_table_signature(interface: Interface) -> str | None:
    """The signature that takes lines of a table: the default one, if it has one value per column, or vectors."""
    table = interface.tables.get(DEFAULT_SIGNATURE)
    if table is None:
        return csv_rows.find_signature(interface)
    return DEFAULT_SIGNATURE if table.is_flat else None


def decode_raw(request: HttpRequest, signature: str, interface: Interface, limits: GatewaySettings) -> PredictCall:
    """One image or one text as it is, as the only element of the string input that takes it."""
    check_output_types(interface.signatures[signature])
    check_charset(request.headers)
    check_size(request.body, limits, "max_image_bytes" if input_kind(interface) == "image" else "max_json_bytes")
    inputs = {interface.signatures[signature].inputs[0].name: np.array([request.body], dtype=object)}
    check_inputs(inputs, signature, interface, limits)
    explain = explanations.choose(request.query, signature, inputs, "labelled", interface)
    return PredictCall(signature=signature, inputs=inputs, form="labelled", explain=explain)


def is_raw(request: HttpRequest, interface: Interface) -> bool:
    """Whether a body that no header calls anything but JSON is an image, or a text, as it is."""
    if images.recognize(request.body) is not None:
        return True
    named = request.media_type == "application/json"
    return not named and input_kind(interface) == "text" and request.body.lstrip()[:1] not in (b"", b"{", b"[")


def refuse_type(request: HttpRequest, interface: Interface) -> UnsupportedType:
    """The error of a content type that the model does not take, or of a body that is something else."""
    named = request.media_type[:80] or "no content type"
    held = images.recognize(request.body)
    found = f"{named}, and a body of {held}" if held not in (None, named) else named
    meant = held or ("text/plain" if request.media_type in JSON_TYPES else None)
    taken = meant and RAW_TYPES.get(meant) == input_kind(interface) and find_raw_signature(interface)
    hint = f"; send it with the header Content-Type: {meant}" if taken else ""
    return UnsupportedType(f"expected {accepted_types(interface)}; received {found}{hint}")


def hint_at_images(body: bytes, signature: str, interface: Interface) -> str:
    """Where images go, for who put one in base64 where pixels are expected; else nothing."""
    found = find_file_signature(interface)
    if found in (None, signature) or not any(mark in body for mark in IMAGE_MARKS):
        return ""
    return f'; images as files go, as {{"b64": "…"}}, to another signature: "signature_name": "{found}"'


def choose_words(query: Mapping[str, str]) -> Words:
    """What ``?labels=`` asks for instead of the outputs; raises ``InvalidRequest``."""
    wanted = query.get("labels")
    if wanted is None:
        return "false"
    if (known := wanted.lower()) not in get_args(Words):
        raise InvalidRequest(f"labels: expected true, false or scores, received {known[:20]!r}")
    return cast("Words", known)


def choose_row_format(signature: str, interface: Interface, words: Words) -> Literal["row", "labels", "scores"]:
    if words == "true":
        labels.require_labels(interface, signature)
        return "labels"
    return "scores" if words == "scores" else "row"


def input_kind(interface: Interface) -> str | None:
    """The kind of the only input, such as ``image``; ``named`` if there are several, None without a manifest."""
    if isinstance(interface.input, NamedLimits) and len(interface.input.inputs) == 1:
        (only,) = interface.input.inputs.values()
        return only.kind
    return interface.input.kind if interface.input else None


def find_raw_signature(interface: Interface) -> str | None:
    """The signature whose only input is strings; None if there is none."""
    for name, signature in interface.list_answering().items():
        if interface.input is not None and [spec.dtype for spec in signature.inputs] == ["string"]:
            return name
    return None


def find_file_signature(interface: Interface) -> str | None:
    """The signature that takes images as files hold them; None if there is none."""
    if input_kind(interface) == "image":
        return find_raw_signature(interface)
    tables = [(name, table) for name, table in interface.tables.items() if not interface.is_explanation(name)]
    return next((name for name, table in tables if any(column.is_encoded for column in table.columns)), None)


def find_form_signature(interface: Interface) -> str | None:
    """The signature of which a form holds one row, an input in each part; None where inputs have no names."""
    found = find_file_signature(interface) or DEFAULT_SIGNATURE
    return found if input_kind(interface) == "named" and found in interface.tables else None


def accepted_types(interface: Interface) -> str:
    """Content types that a model takes, as text; and what stands in them, where inputs have names."""
    raw = [name for name, kind in RAW_TYPES.items() if kind == input_kind(interface) and find_raw_signature(interface)]
    several = ["multipart/form-data"] if raw or find_form_signature(interface) else []
    table = [csv_rows.TYPE] if find_table_signature(interface) else []
    taken = " or ".join(["application/json", "application/jsonl", *raw, *several, *table])
    named = interface.tables.get(DEFAULT_SIGNATURE)
    return f"{taken}, with {list_expected(named)}" if named else taken
