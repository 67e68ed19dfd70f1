"""The address of a client, also behind proxies: forwarded addresses are believed only from configured ones."""

import ipaddress
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

CLIENT = "modelyard.client"
"""Where the RSGI app leaves the address in the WSGI environment, if there are proxies."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def find_client_address(peer: str, forwarded: Sequence[str], proxies: Sequence[str]) -> str:
    """The last address that is not a proxy of ours.

    Args:
        peer: the other side of the connection, without its port.
        forwarded: the request's ``X-Forwarded-For`` headers; each proxy appends the address that it was called from.
        proxies: addresses or networks of our proxies.
    """
    address = peer.strip("[]")
    if not proxies or not is_within(address, tuple(proxies)):
        return address
    for hop in reversed([part.strip() for header in forwarded for part in header.split(",")]):
        if not is_address(hop):
            return address  # what stands before it may be anybody's
        address = hop
        if not is_within(address, tuple(proxies)):
            return address
    return address


def is_encrypted(environ: Mapping[str, Any], proxies: Sequence[str]) -> bool:
    """Whether the client's side of a connection is TLS.

    A proxy of ours says so, or the page itself, by its origin: who lies there makes only their own cookie useless.

    Args:
        environ: of the WSGI request.
        proxies: addresses or networks of our proxies.
    """
    if environ.get("wsgi.url_scheme") == "https" or environ.get("HTTP_ORIGIN", "").startswith("https://"):
        return True
    peer = environ.get("REMOTE_ADDR", "").strip("[]")
    forwarded = environ.get("HTTP_X_FORWARDED_PROTO", "").lower().split(",")
    return "https" in [part.strip() for part in forwarded] and is_within(peer, tuple(proxies))


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def is_within(address: str, networks: tuple[str, ...]) -> bool:
    """Whether an address belongs to one of these networks."""
    if not is_address(address):
        return False
    found = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in parse_networks(networks))


@lru_cache(maxsize=8)
def parse_networks(networks: tuple[str, ...]) -> tuple[Network, ...]:
    """Raises ``ValueError`` if one of them is none."""
    return tuple(ipaddress.ip_network(network) for network in networks)
