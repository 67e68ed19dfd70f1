"""Bodies of predictions: bytes to named arrays. The interface says what is taken; no model is known here.

A body is TensorFlow Serving's JSON, rows of numbers as CSV, or one image or text as it is; the answers to the latter
name labels. Several files come as ``multipart``, and any number of inputs as ``bulk``.
"""

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from flask import Request

from modelyard.models.registry.manifest import ImageLimits, SignatureSpec, TextLimits
from modelyard.models.types import Array
from modelyard.services.gateway.codecs import (
    csv_rows as csv_form,
)
from modelyard.services.gateway.codecs import (
    images,
    labels,
)
from modelyard.services.gateway.codecs import (
    tfs_json as json_form,
)
from modelyard.services.gateway.codecs import (
    tfs_json_fast as fast_json,
)
from modelyard.services.gateway.http.errors import BodyTooLarge, InvalidRequest, UnsupportedType
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings

JSON_TYPES = frozenset({"", "application/json", "application/x-www-form-urlencoded"})
"""What JSON usually is called; the last one is what ``curl -d`` sends."""
RAW_TYPES = {"image/png": "image", "image/jpeg": "image", "text/plain": "text"}
"""By content type, the kind of input that it is."""

Form = Literal["row", "column", "labels", "labelled", "csv"]
"""Of the answer: TensorFlow Serving's two; a label per row; one label with all scores; lines of numbers or labels."""


BODY = "modelyard.body"
"""Where the front leaves the bytes of a body in the WSGI environment, so that they are not copied through a stream."""


@dataclass(frozen=True)
class Decoded:
    """What to run, on what, and in which form to answer."""

    signature: str
    inputs: dict[str, Array]
    form: Form

    @property
    def size(self) -> int:
        """Number of inputs in the batch."""
        return max((len(array) for array in self.inputs.values() if array.shape), default=1)


# --- decode -----------------------------------------------------------------------------------------------------------


def decode(request: Request, interface: Interface, limits: GatewaySettings) -> Decoded:
    """Reads a body, within limits, into the arrays that one signature takes.

    Raises:
        InvalidRequest: says what was expected and what came.
        BodyTooLarge, UnsupportedType: before anything is parsed.
        Unimplemented: JSON for a type that has no such form.
    """
    mimetype = request.mimetype
    if mimetype in JSON_TYPES:
        return decode_json(read(request, limits.max_json_bytes), request, interface, limits)
    if mimetype == csv_form.TYPE and (signature := csv_form.signature_of(interface)):
        return decode_csv(request, signature, interface, limits)
    if RAW_TYPES.get(mimetype) == kind_of(interface) and (signature := raw_signature(interface)):
        return decode_raw(request, signature, interface, limits)
    body = read(request, limits.max_json_bytes)
    if body.lstrip()[:1] != b"{":
        raise UnsupportedType(f"expected {accepted(interface)}; received {mimetype[:80]}")
    return decode_json(body, request, interface, limits)  # TensorFlow Serving never looks at the content type


def decode_json(body: bytes, request: Request, interface: Interface, limits: GatewaySettings) -> Decoded:
    named = wants_labels(request)
    quick = fast_json.decode(body, interface, limits.max_instances)
    if quick:
        return Decoded(
            json_form.DEFAULT_SIGNATURE, quick, row_form(json_form.DEFAULT_SIGNATURE, interface, named=named)
        )
    asked = json_form.parse(body, limits.max_depth)
    signature = json_form.find_signature(asked, interface)
    spec, ours = interface.signatures[signature], interface.input is not None
    form, inputs = json_form.inputs_of(asked, spec, limits.max_instances, shaped=ours)
    check_inputs(inputs, spec, interface, limits)
    return Decoded(signature, inputs, row_form(signature, interface, named=named) if form == "row" else form)


def decode_csv(request: Request, signature: str, interface: Interface, limits: GatewaySettings) -> Decoded:
    """Lines of numbers; answered as CSV where the caller prefers that, with labels where there are some."""
    spec = interface.signatures[signature].inputs[0]
    check_charset(request)
    array = csv_form.decode(read(request, limits.max_json_bytes), spec, limits.max_instances)
    wanted = request.accept_mimetypes.best_match(["application/json", csv_form.TYPE])
    form: Form = "csv" if wanted == csv_form.TYPE else "labels" if labels.has(interface, signature) else "row"
    return Decoded(signature, {spec.name: array}, form)


def decode_raw(request: Request, signature: str, interface: Interface, limits: GatewaySettings) -> Decoded:
    """One image or one text, as the only element of the string input that takes it."""
    check_charset(request)
    body = read(request, limits.max_image_bytes if kind_of(interface) == "image" else limits.max_json_bytes)
    return raw(body, signature, interface, limits)


def raw(body: bytes, signature: str, interface: Interface, limits: GatewaySettings) -> Decoded:
    """One body as it is; raises ``InvalidRequest`` if it is no image or text that the model takes."""
    spec = interface.signatures[signature]
    inputs = {spec.inputs[0].name: np.array([body], dtype=object)}
    check_inputs(inputs, spec, interface, limits)
    return Decoded(signature, inputs, "labelled")


def wants_labels(request: Request) -> bool:
    """Whether ``?labels=true`` asks for labels instead of the outputs."""
    if not request.environ.get("QUERY_STRING"):
        return False
    wanted = request.args.get("labels", "false").lower()
    if wanted not in ("true", "false"):
        raise InvalidRequest(f"labels: expected true or false, received {wanted[:20]!r}")
    return wanted == "true"


def row_form(signature: str, interface: Interface, *, named: bool) -> Literal["row", "labels"]:
    if not named:
        return "row"
    labels.require(interface, signature)
    return "labels"


def kind_of(interface: Interface) -> str | None:
    """``image``, ``text`` or ``vector``; None where nobody said what an input is."""
    return interface.input.kind if interface.input else None


def raw_signature(interface: Interface) -> str | None:
    """The signature whose only input is strings; None if there is none, or there are no labels to answer with."""
    for name, signature in interface.signatures.items():
        if interface.labels and [spec.dtype for spec in signature.inputs] == ["string"]:
            return name
    return None


def accepted(interface: Interface) -> str:
    """Content types that a model takes, in words."""
    raw = [name for name, kind in RAW_TYPES.items() if kind == kind_of(interface) and raw_signature(interface)]
    several = ["multipart/form-data"] if raw else []
    table = [csv_form.TYPE] if csv_form.signature_of(interface) else []
    return " or ".join(["application/json", "application/jsonl", *raw, *several, *table])


def check_charset(request: Request) -> None:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "us-ascii"):
        raise UnsupportedType(f"expected charset utf-8, received {charset[:80]}")


def read(request: Request, most: int) -> bytes:
    """The body, never more than ``most`` bytes of it, whether or not its length was announced.

    Raises:
        BodyTooLarge: there is more.
        InvalidRequest: there is less than was announced.
    """
    body = request.environ.get(BODY)
    if body is None:
        body = read_stream(request, most)
    elif len(body) > most:
        raise BodyTooLarge(f"expected a body of at most {most} bytes, received {len(body)}")
    encoding = request.environ.get("HTTP_CONTENT_ENCODING")
    return inflated(body, encoding, most) if encoding else body


def read_stream(request: Request, most: int) -> bytes:
    """As ``read``, where no front has read it before."""
    announced = request.content_length
    if announced is not None and announced > most:
        raise BodyTooLarge(f"expected a body of at most {most} bytes, received {announced}")
    request.max_content_length = most + 1  # Werkzeug returns a longer stream cut off at its limit, without a word
    body = request.get_data(cache=False)
    if len(body) > most:
        raise BodyTooLarge(f"expected a body of at most {most} bytes, received more")
    if announced is not None and len(body) < announced:
        raise InvalidRequest(f"expected a body of {announced} bytes as announced, received {len(body)}")
    return body


def inflated(body: bytes, encoding: str, most: int) -> bytes:
    """A gzip or deflate body, never more than ``most`` bytes of it: a small one can unfold to gigabytes.

    Raises:
        UnsupportedType: another encoding. BodyTooLarge. InvalidRequest: damaged.
    """
    if encoding not in ("gzip", "deflate"):
        raise UnsupportedType(f"expected Content-Encoding gzip or deflate, received {encoding[:80]}")
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either header; RFC 9110, section 8.4.1
    try:
        unfolded = stream.decompress(body, most + 1)
    except zlib.error as error:
        raise InvalidRequest(f"expected a {encoding} body, received bytes that are not: {error}") from None
    if len(unfolded) > most:
        raise BodyTooLarge(f"expected a body of at most {most} bytes, received one that unfolds to more")
    if not stream.eof:
        raise InvalidRequest(f"expected a whole {encoding} body, received one that breaks off")
    return unfolded


def check_inputs(
    inputs: dict[str, Array], signature: SignatureSpec, interface: Interface, limits: GatewaySettings
) -> None:
    """Numbers of inputs, and what strings hold; shapes and types have been looked at.

    Raises:
        InvalidRequest: says which input.
    """
    least = 0 if interface.input is None else 1
    for spec in signature.inputs:
        array = inputs[spec.name]
        open_rows = array.shape and (spec.shape is None or spec.shape[:1] in ((), (None,)))
        if open_rows and not least <= len(array) <= limits.max_instances:
            raise InvalidRequest(f"{spec.name}: expected 1 to {limits.max_instances} inputs, received {len(array)}")
        if array.dtype == object:
            check_contents(spec.name, array, interface, limits.max_batch_pixels)


def check_contents(name: str, array: Array, interface: Interface, max_batch_pixels: int) -> None:
    """Strings are what the model's kind of input says: texts within its length, or images within its size."""
    pixels = 0
    for index, content in enumerate(array.ravel()):
        if isinstance(interface.input, TextLimits):
            check_text(f"{name}[{index}]", content, interface.input.max_chars)
        elif isinstance(interface.input, ImageLimits):
            pixels += images.pixels(f"{name}[{index}]", content, interface.input.max_pixels)
    if pixels > max_batch_pixels:
        raise InvalidRequest(f"{name}: expected at most {max_batch_pixels} pixels in all, received {pixels}")


def check_text(where: str, content: bytes, most: int) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        found = f"byte 0x{content[error.start]:02x} at position {error.start}"
        raise InvalidRequest(f"{where}: expected UTF-8, received {found}") from None
    if not text.strip():
        raise InvalidRequest(f"{where}: expected a text, received {'only white space' if text else 'an empty one'}")
    if len(text) > most:
        raise InvalidRequest(f"{where}: expected at most {most} characters, received {len(text)}")
