"""A body of lines, split while it arrives; memory is bounded by the limit of one line."""

from collections import deque
from typing import NamedTuple


class Line(NamedTuple):
    """One line of a body, without its end."""

    number: int
    """From 1."""
    content: bytes | None
    """None if it was too long, and dropped."""


class Lines:
    """Lines that have arrived and were not taken yet."""

    def __init__(self, max_bytes: int) -> None:
        """``max_bytes``: of one line."""
        self._max_bytes = max_bytes
        self._lines: deque[Line] = deque()
        self._tail = b""
        self._skips = False
        """Whether the line that is arriving is too long already."""
        self._count = 0
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._lines)

    def feed(self, chunk: bytes) -> None:
        """Takes what has arrived; an empty chunk ends the last line, if there is one without an end."""
        *whole, tail = (self._tail + chunk).split(b"\n")
        for content in whole:
            self._add(content)
        self._tail = tail
        if len(tail) > self._max_bytes:
            self._tail, self._skips = b"", True
        if not chunk and (self._tail or self._skips):
            self._add(self._tail)
            self._tail = b""

    def take(self, max_lines: int, max_bytes: int) -> list[Line]:
        """The next lines, at most so many, and at least one even if that is longer."""
        taken: list[Line] = []
        size = 0
        while self._lines and len(taken) < max_lines and (not taken or size < max_bytes):
            line = self._lines.popleft()
            size += len(line.content or b"")
            taken.append(line)
        self.held_bytes -= size
        return taken

    def _add(self, content: bytes) -> None:
        too_long = self._skips or len(content) > self._max_bytes
        self._skips = False
        self._count += 1
        self._lines.append(Line(self._count, None if too_long else content))
        self.held_bytes += 0 if too_long else len(content)

    @property
    def next_number(self) -> int:
        """Of the line that has yet to arrive."""
        return self._count + 1
