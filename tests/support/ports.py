"""Ports for servers that tests start, which nobody else is given meanwhile."""

import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager


def _bound() -> socket.socket:
    """On Linux a socket that is bound and does not listen keeps nobody from listening who, as a server does, allows it
    (SO_REUSEADDR, socket(7)), and the system gives its port to nobody."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


@contextmanager
def held_port() -> Iterator[int]:
    """One that is ours until the end of the block."""
    with closing(_bound()) as held:
        port: int = held.getsockname()[1]
        if sys.platform != "linux":
            held.close()  # nobody could listen beside it: it is only hoped to stay free
        yield port


def free_port() -> int:
    """One that is ours as long as this process lives."""
    held = _bound()
    port: int = held.getsockname()[1]
    if sys.platform == "linux":
        held.detach()
    else:
        held.close()
    return port
