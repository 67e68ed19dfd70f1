"""TFRecord files: length, its checksum, data, its checksum (tensorflow/core/lib/io ``record_writer.h``)."""

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grpc
import numpy as np

from modelyard.models.types import Array
from modelyard.services.modelserver.errors import Refused

HEADER, FOOTER = struct.Struct("<QI"), struct.Struct("<I")
POLYNOMIAL = 0x82F63B78
"""CRC-32C (Castagnoli), bits reversed (RFC 3720)."""
MASK = 0xA282EAD8
ONES = 0xFFFFFFFF


def records(path: Path) -> Iterator[bytes]:
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
        if length_checksum != masked(content[position : position + 8]):
            raise Refused(grpc.StatusCode.DATA_LOSS, f"corrupted record at {position}")
        end = start + length
        if end + FOOTER.size > len(content):
            raise Refused(grpc.StatusCode.DATA_LOSS, f"truncated record at {position}")
        if FOOTER.unpack_from(content, end)[0] != masked(content[start:end]):
            raise Refused(grpc.StatusCode.DATA_LOSS, f"corrupted record at {position}")
        yield content[start:end]
        position = end + FOOTER.size


def masked(content: bytes) -> int:
    """The checksum as it stands in the file (tensorflow/core/lib/hash ``crc32c.h``)."""
    checksum = crc32c(content)
    return ((checksum >> 15 | checksum << 17) + MASK) & ONES


def crc32c(content: bytes) -> int:
    """CRC-32C of any number of bytes, by halves: neighbours are joined pairwise until one value is left.

    Without its initial value a CRC is linear, so ``crc(a + b) = crc(a) shifted by len(b) ^ crc(b)``.
    """
    padded = np.zeros(1 << len(content).bit_length(), np.uint8)  # zeros in front change nothing
    padded[len(padded) - len(content) :] = np.frombuffer(content, np.uint8)
    values = _shift_tables(0)[0][padded]
    initial = _shifted(np.array([ONES], np.uint32), len(content))[0]
    for level in range(len(padded).bit_length() - 1):
        values = _by_table(_shift_tables(level), values[0::2]) ^ values[1::2]
    return int(values[0] ^ initial) ^ ONES


def _shifted(values: Array, count: int) -> Array:
    """The checksums after ``count`` more bytes of zeros."""
    for level in range(count.bit_length()):
        if count >> level & 1:
            values = _by_table(_shift_tables(level), values)
    return values


@cache
def _shift_tables(level: int) -> tuple[Array, Array, Array, Array]:
    """For each byte of a checksum, what it becomes after ``2**level`` more bytes of zeros."""
    if level:
        before = _shift_tables(level - 1)
        zero, one, two, three = (_by_table(before, table) for table in before)
        return zero, one, two, three
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ POLYNOMIAL, table >> 1).astype(np.uint32)
    byte = np.arange(256, dtype=np.uint32)
    return table, byte, byte << 8, byte << 16


def _by_table(tables: tuple[Array, Array, Array, Array], values: Array) -> Array:
    zero, one, two, three = tables
    joined: Array = zero[values & 255] ^ one[values >> 8 & 255] ^ two[values >> 16 & 255] ^ three[values >> 24]
    return joined
