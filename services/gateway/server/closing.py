"""Responses of a gateway that will end: each asks its client to connect anew, and so to another gateway.

Else a client that keeps its connection could send its next request just when the gateway closes it (RFC 9112, 9.6).
"""

from modelyard.services.gateway.http.headers import HeaderList

CLOSE = ("connection", "close")


def add_close(headers: HeaderList) -> HeaderList:
    """The headers, once."""
    return headers if CLOSE in headers else [*headers, CLOSE]
