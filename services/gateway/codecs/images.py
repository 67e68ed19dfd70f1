"""Checks an encoded image without decoding it: format, size and whether it is complete. Names other formats."""

import struct
import zlib
from io import BytesIO
from typing import Any

from modelyard.services.gateway.http.errors import InvalidRequest

ENDS = {b"\x89PNG\r\n\x1a\n": b"IEND\xaeB\x60\x82", b"\xff\xd8\xff": b"\xff\xd9"}
"""By a file's first bytes, what a whole one ends in."""
FORMATS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
    b"II*\x00": "image/tiff",
    b"MM\x00*": "image/tiff",
    b"%PDF-": "application/pdf",
    b"PK\x03\x04": "application/zip",
    b"\x1f\x8b": "application/gzip",
    b"<svg": "image/svg+xml",
}
"""Media types by a file's first bytes."""
CONTAINERS = {b"WEBP": "image/webp", b"avif": "image/avif", b"heic": "image/heic", b"heix": "image/heic"}
"""The same by the four bytes after the first eight."""
PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
PNG_FORMS = (b"\x08\x00\x00\x00\x00", b"\x08\x02\x00\x00\x00", b"\x08\x06\x00\x00\x00")
"""Bits, colour type, compression, filter and interlacing of the commonest files: grey, RGB and RGBA of eight bits."""
BASE64_STARTS = (b"iVBORw0KGgo", b"/9j/", b"data:image/")
"""How a PNG, a JPEG and a page's ``data:`` address begin in base64."""


def count_pixels(where: str, content: bytes, max_pixels: int) -> int:
    """Width times height, from the header.

    Args:
        where: what to call the image in an error.
        content: the file's bytes.
        max_pixels: largest number of pixels allowed.

    Raises:
        InvalidRequest: neither PNG nor JPEG, damaged, cut off, or too large.
    """
    end = next((end for magic, end in ENDS.items() if content.startswith(magic)), None)
    if end is None:
        raise InvalidRequest(f"{where}: expected a PNG or JPEG image, received {describe(content)}")
    try:
        width, height = _read_plain_png(content) or map(int, _open(content).size)
    except (SyntaxError, OSError, ValueError, OverflowError):
        raise InvalidRequest(f"{where}: the image's header is damaged or cut off") from None
    if end not in content:
        raise InvalidRequest(f"{where}: the image is cut off; {len(content)} bytes arrived, its end did not")
    if width * height > max_pixels:
        raise InvalidRequest(
            f"{where}: expected at most {max_pixels} pixels, received {width} x {height}: make it smaller"
        )
    return width * height


def recognize(content: bytes) -> str | None:
    """The media type of an image, or of another file that is often taken for one, by its first bytes."""
    found = next((media_type for magic, media_type in FORMATS.items() if content.startswith(magic)), None)
    return found or CONTAINERS.get(content[8:12])


def describe(content: bytes) -> str:
    """What was sent instead of a PNG or JPEG image, for an error."""
    if content.startswith(BASE64_STARTS):
        return 'base64 as a text; write {"b64": "…"} with what follows "base64," in a data: address'
    return f"{len(content)} bytes of {recognize(content) or 'something else'}"


def _read_plain_png(content: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG of the commonest forms whose pixels follow at once; None leaves a file to Pillow.

    Pillow takes as long for such a header as all else that is done with a small image's request.
    """
    if not content.startswith(PNG_START) or content[37:41] != b"IDAT" or content[24:29] not in PNG_FORMS:
        return None
    width, height, sent = *struct.unpack_from(">II", content, 16), struct.unpack_from(">I", content, 29)[0]
    if not width or not height or zlib.crc32(content[12:29]) != sent:
        return None
    return width, height


def _open(content: bytes) -> Any:
    """Reads the header only. Opened by class, Pillow tries no other format; it is imported at the first image."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    return (PngImageFile if content.startswith(b"\x89PNG") else JpegImageFile)(BytesIO(content))
