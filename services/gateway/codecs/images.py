"""Checks an encoded image without decoding it: format, size and whether it is complete."""

from io import BytesIO
from typing import Any

from modelyard.services.gateway.http.errors import InvalidRequest

ENDS = {b"\x89PNG\r\n\x1a\n": b"IEND\xaeB\x60\x82", b"\xff\xd8\xff": b"\xff\xd9"}
"""By a file's first bytes, what a whole one ends in."""


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
        raise InvalidRequest(f"{where}: expected a PNG or JPEG image, received {len(content)} bytes of something else")
    try:
        image = _open(content)
    except (SyntaxError, OSError, ValueError, OverflowError):
        raise InvalidRequest(f"{where}: the image's header is damaged or cut off") from None
    if end not in content:
        raise InvalidRequest(f"{where}: the image is cut off; {len(content)} bytes arrived, its end did not")
    if image.mode == "CMYK":
        raise InvalidRequest(f"{where}: expected a grey or RGB image, received CMYK")
    width, height = map(int, image.size)
    if width * height > max_pixels:
        raise InvalidRequest(f"{where}: expected at most {max_pixels} pixels, received {width} x {height}")
    return width * height


def _open(content: bytes) -> Any:
    """Reads the header only. Opened by class, Pillow tries no other format; it is imported at the first image."""
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    return (PngImageFile if content.startswith(b"\x89PNG") else JpegImageFile)(BytesIO(content))
