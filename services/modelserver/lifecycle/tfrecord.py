"""TFRecord files: length, its checksum, data, its checksum (tensorflow/core/lib/io ``record_writer.h``)."""

import struct
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import grpc

from modelyard.services.modelserver.errors import Refused

HEADER, FOOTER = struct.Struct("<QI"), struct.Struct("<I")
LENGTH_BYTES = 8
MASK_DELTA = 0xA282EAD8
UINT32_MAX = 0xFFFFFFFF


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a file.

    Raises:
        Refused: DATA_LOSS where the file is not a whole TFRecord.
    """
    content = path.read_bytes()
    position = 0
    while position < len(content):
        start = position + HEADER.size
        if start > len(content):
            raise Refused(grpc.StatusCode.DATA_LOSS, f"truncated record at {position}")
        length, length_checksum = HEADER.unpack_from(content, position)
        if length_checksum != mask_checksum(content[position : position + LENGTH_BYTES]):
            raise Refused(grpc.StatusCode.DATA_LOSS, f"corrupted record at {position}")
        end = start + length
        if end + FOOTER.size > len(content):
            raise Refused(grpc.StatusCode.DATA_LOSS, f"truncated record at {position}")
        if FOOTER.unpack_from(content, end)[0] != mask_checksum(content[start:end]):
            raise Refused(grpc.StatusCode.DATA_LOSS, f"corrupted record at {position}")
        yield content[start:end]
        position = end + FOOTER.size


def mask_checksum(content: bytes) -> int:
    """CRC-32C of some bytes, masked as it stands in the file (tensorflow/core/lib/hash ``crc32c.h``)."""
    checksum: int = google_crc32c.value(content)
    return ((checksum >> 15 | checksum << 17) + MASK_DELTA) & UINT32_MAX
