"""What goes wrong in a page: errors, what its policy refuses, and requests that fail."""

import re
from dataclasses import dataclass, field

from playwright.sync_api import ConsoleMessage, Page, Request

LEFT = "net::ERR_ABORTED"
"""The page was left, or its module ended the request."""


@dataclass
class Faults:
    """Of all pages of a test; it fails with any that it did not allow."""

    found: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def allow(self, *patterns: str) -> None:
        """Regular expressions of what the test brings about."""
        self.allowed.extend(patterns)

    def watch(self, page: Page) -> None:
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        page.on("requestfailed", self._note_request)

    def unexpected(self) -> list[str]:
        return [one for one in self.found if not any(re.search(pattern, one) for pattern in self.allowed)]

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.found.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _note_request(self, request: Request) -> None:
        if request.failure != LEFT:
            self.found.append(f"failed: {request.method} {request.url} {request.failure}")
