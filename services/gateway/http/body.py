"""Bodies of requests: read once, within a limit, and inflated."""

import io
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from flask import Request

from modelyard.services.gateway.http.errors import BodyTooLarge, InvalidRequest, UnsupportedType
from modelyard.services.gateway.http.headers import HeaderList, Headers, media_parameters
from modelyard.services.gateway.settings import GatewaySettings

BODY = "modelyard.body"
"""Where the RSGI app leaves a body's bytes in the WSGI environment, so that they are not copied through a stream."""
CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
"""Names of UTF-8, and of what is a part of it."""
ENCODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
"""By the names that clients use, in lower case (RFC 9110, section 8.4.1)."""
CHUNK_BYTES = 64 * 1024

SizeSetting = Literal["max_json_bytes", "max_image_bytes", "max_tensor_bytes"]
"""Settings that limit the size of bodies."""


class BodyLimit(NamedTuple):
    """The largest body that is read."""

    max_bytes: int
    variable: str = ""
    """Of the environment, that sets it; empty where none does."""

    def describe(self, received: int | str, what: str = "a body") -> str:
        """The text of a 413: what was expected and what came."""
        hint = f"; {self.variable} sets this limit" if self.variable else ""
        return f"expected {what} of at most {self.max_bytes} bytes, received {received}{hint}"


def find_limit(limits: GatewaySettings, setting: SizeSetting) -> BodyLimit:
    """The limit that a setting is."""
    return BodyLimit(getattr(limits, setting), f"MODELYARD_{setting.upper()}")


class HttpRequest(NamedTuple):
    """What codecs need of a request."""

    headers: Headers
    media_type: str
    """Of the body; found once for all who ask for it."""
    body: bytes
    query: Mapping[str, str] = MappingProxyType({})


class HttpResponse(NamedTuple):
    """A whole response."""

    status: int
    headers: HeaderList
    body: bytes


class Readable(Protocol):
    """A stream of bytes; an empty result is the end."""

    def read(self, size: int, /) -> bytes: ...


class Inflated:
    """A gzip or deflate stream, inflated no further than it is read: a small one can expand to gigabytes."""

    def __init__(self, stream: Readable, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either header; RFC 9110, section 8.4.1

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; raises ``InvalidRequest`` if the stream is damaged or breaks off."""
        while not self._inflater.eof:
            deflated = self._inflater.unconsumed_tail or self._stream.read(CHUNK_BYTES)
            try:
                found = self._inflater.decompress(deflated, size)
            except zlib.error as error:
                text = f"expected a {self._encoding} body, received bytes that are not: {error}"
                raise InvalidRequest(text) from None
            if found:
                return found
            if not deflated:
                raise InvalidRequest(f"expected a whole {self._encoding} body, received one that breaks off")
        return b""


def open_stream(stream: Readable, encoding: str | None) -> Readable:
    """A body that is read while it arrives; raises ``UnsupportedType`` for an encoding that is not known."""
    found = parse_encoding(encoding)
    return Inflated(stream, found) if found else stream


def parse_encoding(header: str | None) -> str | None:
    """``gzip`` or ``deflate``, in whatever case it is written; None for a plain body, as ``identity`` says too.

    Raises:
        UnsupportedType: another encoding, or several.
    """
    named = [name for part in (header or "").split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if not named:
        return None
    if len(named) > 1 or named[0] not in ENCODINGS:
        raise UnsupportedType(f"expected Content-Encoding gzip, deflate or identity, received {(header or '')[:80]}")
    return ENCODINGS[named[0]]


def read_body(request: Request, limit: BodyLimit) -> bytes:
    """The whole body, inflated, never more than ``limit`` of it, whether or not its length was announced.

    Raises:
        BodyTooLarge: there is more.
        InvalidRequest: there is less than was announced, or it cannot be inflated.
        UnsupportedType: its encoding is not known.
    """
    body = request.environ.get(BODY)
    if body is None:
        body = _read_stream(request, limit)
    if len(body) > limit.max_bytes:
        raise BodyTooLarge(limit.describe(len(body)))
    encoding = parse_encoding(request.environ.get("HTTP_CONTENT_ENCODING"))
    return _inflate(body, encoding, limit) if encoding else body


def check_size(body: bytes, limits: GatewaySettings, setting: SizeSetting) -> None:
    """Raises ``BodyTooLarge``, which names the setting."""
    if len(body) > getattr(limits, setting):
        raise BodyTooLarge(find_limit(limits, setting).describe(len(body)))


def check_charset(headers: Headers) -> None:
    """Raises ``UnsupportedType`` if a text is in anything but UTF-8."""
    charset = media_parameters(headers).get("charset", "utf-8").lower()
    if charset not in CHARSETS:
        raise UnsupportedType(f"expected charset utf-8, received {charset[:80]}")


def _read_stream(request: Request, limit: BodyLimit) -> bytes:
    """As ``read_body``, where no RSGI app has read it before."""
    announced = request.content_length
    if announced is not None and announced > limit.max_bytes:
        raise BodyTooLarge(limit.describe(announced))
    # Werkzeug returns a longer stream cut off at its limit, without an error.
    request.max_content_length = limit.max_bytes + 1
    body = request.get_data(cache=False)
    if len(body) > limit.max_bytes:
        raise BodyTooLarge(limit.describe("more"))
    if announced is not None and len(body) < announced:
        raise InvalidRequest(f"expected a body of {announced} bytes as announced, received {len(body)}")
    return body


def _inflate(body: bytes, encoding: str, limit: BodyLimit) -> bytes:
    stream = Inflated(io.BytesIO(body), encoding)
    chunks, left = [], limit.max_bytes
    while chunk := stream.read(left + 1):
        chunks.append(chunk)
        left -= len(chunk)
        if left < 0:
            raise BodyTooLarge(limit.describe("one that unfolds to more"))
    return b"".join(chunks)
