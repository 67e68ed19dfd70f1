"""Connections to other machines without protection: passwords and inputs could be read, and answers changed."""

import ipaddress
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from modelyard.models.sources.project_file import InvalidSettings
from modelyard.models.tfserving.addresses import is_name, split_name
from modelyard.services.tls.urls import MODE, SECURE_BROKER, is_postgresql, is_socket, list_hosts

KINDS = BROKER, LEDGER, SERVING = ("broker", "ledger", "serving")
CHECKED_MODES = ("verify-full", "verify-ca")
"""Of libpq's, those that look at the server's certificate; ``prefer``, its default, goes on without TLS."""
SOCKETS = ("unix:", "unix-abstract:")
INSIDE = "local"
"""The model server of a gateway's own process."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name: what it stands for can change
        return False


def require_protected(broker: str, ledger: str, serving: Sequence[str], allowed: Sequence[str]) -> None:
    """Checks where a process will connect to.

    Args:
        broker, ledger: URLs.
        serving: addresses of model servers that are spoken to without TLS.
        allowed: those of ``KINDS`` that may be plain.

    Raises:
        InvalidSettings: one is on another machine, is plain, and nobody has said that it may be.
    """
    found = [(BROKER, find_plain_broker(broker)), (LEDGER, find_plain_ledger(ledger))]
    found += [(SERVING, find_plain_server(address)) for address in serving]
    for kind, problem in found:
        if problem and kind not in allowed:
            raise InvalidSettings(
                f"MODELYARD_ALLOW_PLAIN: {problem}; or name `{kind}` here, if nobody else can reach that network"
            )


def find_plain_broker(url: str) -> str | None:
    """What is wrong with a broker's URL; None if nothing is."""
    parts = urlsplit(url)
    host = parts.hostname
    if host is None or parts.scheme == SECURE_BROKER or is_loopback(host):
        return None
    return f"the broker is on another machine ({host}) and spoken to without TLS: expected rediss:// in its URL"


def find_plain_ledger(url: str) -> str | None:
    """Likewise of the ledger's: SQLite is a file, and a path in ``host`` is a socket of this machine."""
    if not is_postgresql(url):
        return None
    said = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    others = [host for host in list_hosts(url) if not is_socket(host) and not is_loopback(host)]
    if not others or said.get(MODE) in CHECKED_MODES:
        return None
    how = f"{MODE}={said[MODE]} checks no certificate" if MODE in said else "its URL asks for no TLS"
    return (
        f"the ledger is on another machine ({others[0]}), and {how}: expected {MODE}=verify-full, or MODELYARD_TLS_CA"
    )


def find_plain_server(address: str) -> str | None:
    """Likewise of a model server's address."""
    if address == INSIDE or address.startswith(SOCKETS):
        return None
    host = split_name(address)[0] if is_name(address) else address.rpartition(":")[0]
    if is_loopback(host):
        return None
    return (
        f"a model server is on another machine ({host}) and spoken to without TLS: expected MODELYARD_SERVING_TLS=true"
    )
