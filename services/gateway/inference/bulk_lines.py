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
        self._parts: list[bytes] = []
        """Of the line that is arriving, unless that is too long."""
        self._size = 0
        """Of that line."""
        self._count = 0
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._lines)

    def feed(self, chunk: bytes) -> None:
        """Takes what has arrived; an empty chunk ends the last line, if there is one without an end."""
        first, *others = chunk.split(b"\n")
        self._continue_line(first)
        for part in others:
            self._end_line()
            self._continue_line(part)
        if self._size and not chunk:
            self._end_line()

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

    def _continue_line(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._max_bytes:
            self._parts.clear()
        else:
            self._parts.append(part)

    def _end_line(self) -> None:
        content = None if self._size > self._max_bytes else b"".join(self._parts)
        self._count += 1
        self._lines.append(Line(self._count, content))
        self.held_bytes += len(content or b"")
        self._parts, self._size = [], 0

    @property
    def next_number(self) -> int:
        """Of the line that has yet to arrive."""
        return self._count + 1
