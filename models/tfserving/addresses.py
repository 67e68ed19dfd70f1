"""Addresses of model servers: as they were given, or as a name stands for at the moment.

``dns:modelserver:8500`` is every address of the name ``modelserver``: of a headless service in Kubernetes, one for each
server that is ready. Without ``dns:`` a name is one server, of whose addresses gRPC uses the first that answers.
"""

import socket
from collections.abc import Sequence
from typing import NamedTuple

CONNECT_TIMEOUT_S = 1.0
DNS = "dns:"
"""Marks a name that stands for all model servers behind it."""


class Server(NamedTuple):
    """One model server."""

    address: str
    name: str | None = None
    """The name that stood for it: its certificate is for that one, not for the address. None: the address says it."""


def is_name(address: str) -> bool:
    """Whether it stands for any number of servers."""
    return address.startswith(DNS)


def split_name(address: str) -> tuple[str, int]:
    """Host and port of ``dns:host:port``.

    Raises:
        ValueError: it is none.
    """
    host, _, port = address.removeprefix(DNS).rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ValueError(f"expected {DNS}HOST:PORT, received {address!r}")
    return host, int(port)


def find_addresses(name: str) -> tuple[str, ...]:
    """The ``host:port`` of each server that a name stands for now, in order; none if it is not known.

    Addresses of one family only: a server that has one of each would be called as if it were two.

    Raises:
        OSError: no name server answers.
    """
    host, port = split_name(name)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            return ()
        raise
    old = {at[0] for family, _, _, _, at in found if family == socket.AF_INET}
    new = {f"[{at[0]}]" for family, _, _, _, at in found if family == socket.AF_INET6}
    return tuple(f"{address}:{port}" for address in sorted(old or new, key=str))


def list_servers(addresses: Sequence[str]) -> tuple[Server, ...]:
    """Every server, each once: names are looked up, other addresses stay as they are.

    Raises:
        OSError: no name server answers.
    """
    found: dict[str, Server] = {}
    for given in addresses:
        for each in _look_up(given) if is_name(given) else (Server(given),):
            found.setdefault(each.address, each)
    return tuple(found.values())


def _look_up(name: str) -> tuple[Server, ...]:
    host, _ = split_name(name)
    return tuple(Server(address, host) for address in find_addresses(name))


def can_connect(address: str) -> bool:
    """Whether something listens at ``host:port``, ``unix:/path``, or any address of ``dns:host:port``."""
    address = address.removeprefix(DNS)
    path = address.removeprefix("unix:")
    try:
        if path != address:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(CONNECT_TIMEOUT_S)
                probe.connect(path)
        else:
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError):
        return False
    return True
