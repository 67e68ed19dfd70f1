"""A body of lines, cut up while it arrives; memory is bounded by the longest line that is allowed."""

import zlib
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from modelyard.services.gateway.http.errors import InvalidRequest, UnsupportedType

ENCODINGS = ("gzip", "deflate")


class Line(NamedTuple):
    """One line of a body, without its end."""

    number: int
    """From 1."""
    content: bytes | None
    """None if it was too long, and let go."""


class Readable(Protocol):
    """Whatever bytes can be read from; an empty answer is the end."""

    def read(self, size: int, /) -> bytes: ...


class Lines:
    """Lines that have arrived and were not taken yet."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._waiting: deque[Line] = deque()
        self._tail = b""
        self._skips = False
        """Whether the line that is arriving is too long already."""
        self._count = 0
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def feed(self, piece: bytes) -> None:
        """Takes what has arrived; an empty piece ends the last line, if there is one without an end."""
        *whole, tail = (self._tail + piece).split(b"\n")
        for content in whole:
            self._add(content)
        self._tail = tail
        if len(tail) > self._longest:
            self._tail, self._skips = b"", True
        if not piece and (self._tail or self._skips):
            self._add(self._tail)
            self._tail = b""

    def take(self, most: int, most_bytes: int) -> list[Line]:
        """The next lines, at most so many, and at least one even if that is longer."""
        taken: list[Line] = []
        size = 0
        while self._waiting and len(taken) < most and (not taken or size < most_bytes):
            line = self._waiting.popleft()
            size += len(line.content or b"")
            taken.append(line)
        self.held_bytes -= size
        return taken

    def _add(self, content: bytes) -> None:
        too_long = self._skips or len(content) > self._longest
        self._skips = False
        self._count += 1
        self._waiting.append(Line(self._count, None if too_long else content))
        self.held_bytes += 0 if too_long else len(content)

    @property
    def next_number(self) -> int:
        """Of the line that has yet to arrive."""
        return self._count + 1


class Unfolded:
    """A gzip or deflate stream, unfolded no further than it is read."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either header; RFC 9110, section 8.4.1

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; raises ``InvalidRequest`` if the stream is damaged or breaks off."""
        while not self._inflater.eof:
            folded = self._inflater.unconsumed_tail or self._stream.read(size)
            try:
                found = self._inflater.decompress(folded, size)
            except zlib.error as error:
                raise InvalidRequest(f"expected a compressed body, received bytes that are not: {error}") from None
            if found:
                return found
            if not folded:
                raise InvalidRequest("expected a whole compressed body, received one that breaks off")
        return b""


def reader(stream: Readable, encoding: str | None) -> Callable[[int], bytes]:
    """How to read a body; raises ``UnsupportedType`` for an encoding that is not known."""
    if not encoding:
        return stream.read
    if encoding not in ENCODINGS:
        raise UnsupportedType(f"expected Content-Encoding gzip or deflate, received {encoding[:80]}")
    return Unfolded(stream).read
