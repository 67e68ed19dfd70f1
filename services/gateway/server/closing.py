"""Responses of a gateway that will end: each asks its client to connect anew, and so to another gateway.

Else a client that keeps its connection could send its next request just when the gateway closes it (RFC 9112, 9.6).
"""

from typing import Any

from modelyard.services.gateway.http.headers import HeaderList

CLOSE = ("connection", "close")


class ClosingProtocol:
    """granian's protocol of one request, with a header more in the response."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)

    async def __call__(self) -> bytes:
        body: bytes = await self._protocol()
        return body

    def __aiter__(self) -> Any:
        return self._protocol.__aiter__()

    def response_bytes(self, status: int, headers: HeaderList, body: bytes) -> None:
        self._protocol.response_bytes(status, add_close(headers), body)

    def response_stream(self, status: int, headers: HeaderList) -> Any:
        return self._protocol.response_stream(status, add_close(headers))


def add_close(headers: HeaderList) -> HeaderList:
    """The headers, once."""
    return headers if CLOSE in headers else [*headers, CLOSE]
