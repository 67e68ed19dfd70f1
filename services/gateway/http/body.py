"""Bodies of requests: read once, within a limit, and inflated."""

import io
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from flask import Request

from modelyard.services.gateway.http.errors import BodyTooLarge, InvalidRequest, UnsupportedType
from modelyard.services.gateway.http.headers import HeaderList, Headers, media_parameters

BODY = "modelyard.body"
"""Where the RSGI app leaves a body's bytes in the WSGI environment, so that they are not copied through a stream."""
ENCODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
"""By the names that clients use, in lower case (RFC 9110, section 8.4.1)."""
CHUNK_BYTES = 64 * 1024


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


def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body, inflated, never more than ``max_bytes`` of it, whether or not its length was announced.

    Raises:
        BodyTooLarge: there is more.
        InvalidRequest: there is less than was announced, or it cannot be inflated.
        UnsupportedType: its encoding is not known.
    """
    body = request.environ.get(BODY)
    if body is None:
        body = _read_stream(request, max_bytes)
    check_size(body, max_bytes)
    encoding = parse_encoding(request.environ.get("HTTP_CONTENT_ENCODING"))
    return _inflate(body, encoding, max_bytes) if encoding else body


def check_size(body: bytes, max_bytes: int) -> None:
    if len(body) > max_bytes:
        raise BodyTooLarge(f"expected a body of at most {max_bytes} bytes, received {len(body)}")


def check_charset(headers: Headers) -> None:
    """Raises ``UnsupportedType`` if a text is in anything but UTF-8."""
    charset = media_parameters(headers).get("charset", "utf-8").lower()
    if charset not in ("utf-8", "us-ascii"):
        raise UnsupportedType(f"expected charset utf-8, received {charset[:80]}")


def _read_stream(request: Request, max_bytes: int) -> bytes:
    """As ``read_body``, where no RSGI app has read it before."""
    announced = request.content_length
    if announced is not None and announced > max_bytes:
        raise BodyTooLarge(f"expected a body of at most {max_bytes} bytes, received {announced}")
    # Werkzeug returns a longer stream cut off at its limit, without an error.
    request.max_content_length = max_bytes + 1
    body = request.get_data(cache=False)
    if len(body) > max_bytes:
        raise BodyTooLarge(f"expected a body of at most {max_bytes} bytes, received more")
    if announced is not None and len(body) < announced:
        raise InvalidRequest(f"expected a body of {announced} bytes as announced, received {len(body)}")
    return body


def _inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    stream = Inflated(io.BytesIO(body), encoding)
    chunks, left = [], max_bytes
    while chunk := stream.read(left + 1):
        chunks.append(chunk)
        left -= len(chunk)
        if left < 0:
            raise BodyTooLarge(f"expected a body of at most {max_bytes} bytes, received one that unfolds to more")
    return b"".join(chunks)
