"""Files of pictures with much to read before their pixels."""

import io
import struct
import zlib

from PIL import Image


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_chunks(size: int, chunk: bytes = png_chunk(b"tEXt", b"a\0b")) -> bytes:
    """A PNG with many chunks before its pixels."""
    file = io.BytesIO()
    Image.new("L", (28, 28)).save(file, "png")
    image = file.getvalue()
    return image[:33] + chunk * ((size - len(image)) // len(chunk)) + image[33:]


def jpeg_of_segments(size: int) -> bytes:
    """A JPEG with many segments before its pixels."""
    file = io.BytesIO()
    Image.new("L", (28, 28)).save(file, "jpeg")
    image = file.getvalue()
    return image[:2] + b"\xff\xe5\0\2" * ((size - len(image)) // 4) + image[2:]
